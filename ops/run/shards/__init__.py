"""Shards of models in a learner process: which it owns, and their life."""
