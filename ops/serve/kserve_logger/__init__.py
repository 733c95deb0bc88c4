"""What KServe's request logger posts: requests to a model served elsewhere, and its responses, as CloudEvents."""
