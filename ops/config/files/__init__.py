"""The file of a configuration, and the paths in it."""
