"""The battery every learner passes; importable, so that a learner of yours is held to the same.

    class TestMine(LearnerContract):
        def new(self) -> Learner:
            return Mine(LearnerContext(inputs={...}))

        def other(self) -> Learner:
            return Mine(LearnerContext(inputs={...}))  # of another width

        def batches(self) -> list[Batch]:
            return [...]

pytest then runs every test below on your learner. What stands in front of learners is held to `WrapperContract`.
"""

from __future__ import annotations

from thalweg.models.contract.battery.answers import AnswerCases
from thalweg.models.contract.battery.learning import LearningCases
from thalweg.models.contract.battery.offers import OfferCases


class LearnerContract(LearningCases, AnswerCases, OfferCases):
    """Subclass it, give `new`, `batches` and `other`; the class name must begin with Test for pytest to find it.

    A case of something that the learner does not offer is skipped, with the reason.
    """
