"""Shards: a model of many partitions as one fold per partition."""
