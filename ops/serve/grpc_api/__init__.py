"""The gRPC interface: inference, learning and operations, health and reflection, and their threads."""
