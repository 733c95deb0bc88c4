"""Drift detectors of single values."""
