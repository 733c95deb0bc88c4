"""The ordered record of events: the protocol, SQLite, Kafka, and dead letters."""
