"""Health of everything that runs by itself: one registry per process, and threads that are restarted when they end."""
