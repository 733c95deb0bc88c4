"""Drift detection: detectors, alarms, and their delivery."""
