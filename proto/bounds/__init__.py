"""The bounds of what one record may hold, the same for every format: bytes, JSON depth, time."""
