"""What is kept: snapshots, the journal, the shared store."""
