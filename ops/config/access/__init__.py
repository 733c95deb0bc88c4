"""What the configuration says of who may call and what nobody may read: exposed addresses, JWT, secrets."""
