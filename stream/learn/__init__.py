"""The loop that folds the log into a model: blocks, journal, fold, processor."""
