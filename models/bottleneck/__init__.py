"""Discrete key-value bottleneck: frozen keys, values that learn."""
