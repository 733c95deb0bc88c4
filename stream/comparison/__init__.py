"""Champion and challengers compared on the same events, by a test that is valid at any time."""
