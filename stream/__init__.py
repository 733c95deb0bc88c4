"""Streaming: logs, blocks, the processor, labels, evaluation, drift, publication."""
