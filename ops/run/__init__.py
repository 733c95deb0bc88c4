"""Processes: what builds everything, and the supervisor of servers and learners."""
