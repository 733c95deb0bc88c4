"""Bounded memories of rows: histories, ring buffers, key tables, sketches, and nearest-neighbour search in them."""
