"""Data in transit: columnar events, tensors, codecs and the wire schemas."""
