"""Data at rest: snapshots, state files, the shared store, vector memories."""
