"""The tests that every learner passes; importable, so that you can run them on your own learner.

    class TestMine(LearnerContract):
        def new(self) -> Learner:
            return Mine(LearnerContext(inputs={...}))

        def other(self) -> Learner:
            return Mine(LearnerContext(inputs={...}))  # of another width

        def batches(self) -> list[Batch]:
            return [...]

pytest then runs every test below on your learner. For wrappers of learners there is `WrapperContract`.
"""

from __future__ import annotations

from thalweg.models.contract.battery.answers import AnswerCases
from thalweg.models.contract.battery.learning import LearningCases
from thalweg.models.contract.battery.offers import OfferCases


class LearnerContract(LearningCases, AnswerCases, OfferCases):
    """Subclass it and define `new`, `batches` and `other`; pytest needs a class name that begins with Test.

    Cases for capabilities that the learner does not have are skipped, with the reason.
    """
