"""What the hosts of a service do, and what each needs for that."""
