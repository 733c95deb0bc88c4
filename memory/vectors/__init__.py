"""Bounded memories of rows: histories, rings, tables of keys, and the search in them."""
