"""Values that count, fade and correct themselves, pooled by weights that are learned online."""
