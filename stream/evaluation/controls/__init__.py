"""Naive controls, which a model has to beat."""
