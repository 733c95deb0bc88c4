"""The second client of Kafka: confluent-kafka (librdkafka), with what it does not do itself."""
