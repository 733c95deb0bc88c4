"""The test cases of `thalweg.models.testing`, by subject."""
