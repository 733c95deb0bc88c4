"""Quarantine: events that a learner cannot learn are found and left out; too many of them stop the model."""
