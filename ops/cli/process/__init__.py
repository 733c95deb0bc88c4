"""What a command makes of the process that it was given."""
