"""What shards of an error memory have in common: averaged while they learn, or merged to one."""
