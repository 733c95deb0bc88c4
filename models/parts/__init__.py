"""Parts that several learners share: optimisers, input columns, random features, standardisation."""
