"""Temporal point process with a continuous-time prompt pool (PromptTPP)."""
