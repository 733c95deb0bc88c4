"""Recorded streams: files of events in JSON and CSV, and event sequences."""
