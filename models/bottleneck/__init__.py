"""Discrete key-value bottleneck: frozen keys, learned values."""
