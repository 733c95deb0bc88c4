"""Models by key: each row is answered by the shard of its key."""
