"""How many learner processes a model needs for a rate: measured here, and computed from that."""
