"""Micro-batches: how large they are, and when their labels are learned."""
