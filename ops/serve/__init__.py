"""Answering requests: one inference core over the published versions, and the wires that translate for it."""
