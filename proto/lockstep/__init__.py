"""Binary records of one layout, read together: every step reads one value of all of them."""
