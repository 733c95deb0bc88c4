"""The cases of `thalweg.models.testing`, by what they are about."""
