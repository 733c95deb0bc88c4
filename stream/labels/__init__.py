"""Labels that come later: requests kept until then, and the join."""
