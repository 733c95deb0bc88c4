"""What is said: events in columns, tensors, codecs and the wire schemas."""
