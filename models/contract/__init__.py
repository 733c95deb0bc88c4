"""What a learner is: the protocols, the registry of names, and the tests that every learner passes."""
