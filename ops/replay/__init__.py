"""A recorded stream through a learner, and the report of it."""
