"""The processes: the construction of all parts, and the supervisor of servers and learners."""
