"""What a GPU does: `make gpu`. Each stage is a process of its own with a limit, so that one that hangs costs itself."""
