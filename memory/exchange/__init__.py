"""What processes exchange through the store: commands to learners, events that wait for labels."""
