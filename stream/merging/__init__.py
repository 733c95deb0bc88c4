"""One model of what its shards have learned: their states followed, merged, solved and published."""
