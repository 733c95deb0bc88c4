"""What of its host a process takes: memory and open files."""
