"""Answering over gRPC and HTTP."""
