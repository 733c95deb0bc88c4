"""What runs and shows it all: configuration, processes, gRPC, HTTP, metrics, command line."""
