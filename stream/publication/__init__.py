"""How versions reach servers."""
