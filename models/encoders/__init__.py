"""Frozen feature extractors that precede a learner."""
