"""Temporal point process with a prompt pool in continuous time (PromptTPP)."""
