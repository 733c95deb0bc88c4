"""The schema registry: its client, and the schemas that a model's records were written with."""
