"""Commands about a service over the network: predictions, and the tokens that callers have."""
