"""State on disk: one file of a state, the pieces of a growing one, and the versions of a model."""
