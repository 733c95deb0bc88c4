"""Traces: which records belong to a trace, and what becomes of them until an answer has learned them."""
