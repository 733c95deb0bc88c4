"""Shards that another process learns, kept ready to go on with."""
