"""Models of many partitions: which shards this process owns, and how they become one model."""
