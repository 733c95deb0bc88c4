"""Seasons of columns: what the time of day, of the week and of the year explains."""
