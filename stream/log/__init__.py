"""The log: its protocol, the implementations in SQLite and Kafka, and dead letters."""
