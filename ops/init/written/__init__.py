"""How numbers, times and missing values are written in a sample."""
