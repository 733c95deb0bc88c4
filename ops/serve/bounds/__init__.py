"""Bounds on what callers may take: slots and queues, bytes in memory, file descriptors, log lines."""
