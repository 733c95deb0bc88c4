"""What is watched only where labels no longer come."""
