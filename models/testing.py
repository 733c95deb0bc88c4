"""The batteries that every learner, and everything in front of learners, passes; under their public name."""

from thalweg.models.contract.battery.wrapping import WrapperContract
from thalweg.models.contract.testing import LearnerContract

__all__ = ["LearnerContract", "WrapperContract"]
