"""The streams of `make demo`."""
