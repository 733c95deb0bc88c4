"""What several learners use: optimisers, input columns, random features, standardisation."""
