"""State on disk: files of a state, pieces of large arrays, snapshots of a model."""
