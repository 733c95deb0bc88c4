"""Traces by OpenTelemetry: switched on by its environment variables, else nothing of it is imported."""
