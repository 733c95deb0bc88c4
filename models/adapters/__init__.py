"""Estimators of River and scikit-learn as learners, as they are."""
