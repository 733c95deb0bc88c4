"""The battery every learner passes, under its public name."""

from thalweg.models.contract.testing import LearnerContract

__all__ = ["LearnerContract"]
