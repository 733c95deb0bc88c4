"""The journal: what was learned in which order, written before it has an effect."""
