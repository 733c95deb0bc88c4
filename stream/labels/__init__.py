"""Late labels: the request buffer, the request log, and the join."""
