"""What the two clients of Kafka share: the reader of topics, what it does about damage, the limits of topics."""
