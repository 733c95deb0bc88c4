"""Models in a notebook: the service's own fold on data frames, and its snapshots."""
