"""Freshness: how long a record takes from its append to the first answer that has learned it, and what is promised."""
