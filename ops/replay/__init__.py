"""Replay of a recorded stream through a learner, and its report."""
