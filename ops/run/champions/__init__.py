"""Champions and challengers: what is compared, and who may answer in place of whom."""
