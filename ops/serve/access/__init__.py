"""Who may do what: the table of roles, tokens and their callers, hosts and origins, rates."""
