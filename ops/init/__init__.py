"""`thalweg init`: a sample of a file or a topic becomes a commented configuration."""
