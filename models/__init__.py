"""What learns: the learner contract and one file per method."""
