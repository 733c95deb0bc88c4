"""Continual test-time adaptation of a classifier (CoTTA) and its guard."""
