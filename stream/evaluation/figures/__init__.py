"""Metrics of graded events, over all events and over a recent window, with confidence intervals."""
