"""Tuning on the stream: variants of one model, compared while they learn."""
