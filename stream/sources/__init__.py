"""Recorded streams: files of events, CSV, event sequences."""
