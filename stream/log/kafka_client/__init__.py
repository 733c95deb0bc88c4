"""The client of Kafka: kafka-python, with what it does not do itself."""
