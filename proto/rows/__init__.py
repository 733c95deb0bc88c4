"""Records of the user's own making: named columns, and where they and our fields stand in a record."""
