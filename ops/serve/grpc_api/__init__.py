"""The gRPC wire: inference, learning and operating, health and reflection, and the threads that answer them."""
