"""What processes tell each other through the store: commands to learners, requests that wait for labels."""
