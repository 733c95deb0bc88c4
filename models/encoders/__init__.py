"""Frozen feature extractors in front of a learner."""
