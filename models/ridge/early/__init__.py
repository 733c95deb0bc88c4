"""The first events of wide tables, which stand for the sums."""
