"""Evaluation of a model: prequential, continual, and compared with its frozen baseline."""
