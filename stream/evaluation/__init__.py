"""How good a model is: prequential, continual, and beside its frozen baseline."""
