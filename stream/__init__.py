"""What moves: logs, blocks of records, the processor."""
