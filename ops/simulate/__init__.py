"""Deterministic simulation: the whole loop in one thread, under injected faults, against a checker."""
