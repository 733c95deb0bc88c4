"""Shared parameters of the shards by key of one model: when they are averaged, and what is mixed in."""
