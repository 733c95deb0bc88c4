"""Records framed for a schema registry: a zero byte, the schema's id, and the record in the form of that schema."""
