"""Heads of ridge: solved from sums, updated, mixed, balanced; and when."""
