"""The configuration file: its keys, their defaults, and every mistake in it."""
