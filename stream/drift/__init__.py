"""Whether the stream changed: detectors, alarms, and who is told."""
