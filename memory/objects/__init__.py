"""Object stores: what reaches every host."""
