"""Click-through network with a memory of its recent errors (ReLoop2)."""
