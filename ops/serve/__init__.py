"""Serving: one inference core over the published versions, and the gRPC and HTTP interfaces that translate for it."""
