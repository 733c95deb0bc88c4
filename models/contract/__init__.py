"""The contract of learners: the protocols, the registry of names, and the tests that every learner passes."""
