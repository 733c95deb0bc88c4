"""Saving a model: when and what, and the thread that writes."""
