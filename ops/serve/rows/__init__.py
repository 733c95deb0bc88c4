"""Rows as people write them: read from JSON objects, answered in JSON objects."""
