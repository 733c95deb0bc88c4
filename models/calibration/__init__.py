"""Calibrated probabilities, learned online, of any classifier."""
