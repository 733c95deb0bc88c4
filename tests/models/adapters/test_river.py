"""River's estimators as learners: each passes the contract, whatever it is made of."""

from __future__ import annotations

from typing import Any, ClassVar

from tests.models.adapters.sample import INPUTS, two_classes
from tests.samples import events
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Learner, LearnerContext, Predictor
from thalweg.models.contract.registry import find
from thalweg.models.contract.testing import LearnerContract
from thalweg.proto.event import Batch


def learner(path: str, inputs: Any = None, seed: int = 0, **params: Any) -> Learner:
    return find(f"river:{path}")(LearnerContext(inputs=inputs or INPUTS, params=params, seed=seed))


class _Contract(LearnerContract):
    path: ClassVar[str]
    params: ClassVar[dict[str, Any]] = {}
    stream: ClassVar[Any] = staticmethod(events)

    def new(self) -> Learner:
        return learner(self.path, **self.params)

    def other(self) -> Learner:
        return learner(self.path, seed=7, **self.params)

    def batches(self) -> list[Batch]:
        made = [self.stream(count, 100 * number) for number, count in enumerate((20, 1, 30, 9, 17))]
        return [*made, self.stream(3, 700).unlabelled()]

    def predictor_from(self, state: State) -> Predictor:
        return find(f"river:{self.path}").predictor_from(state)


class TestLogisticRegression(_Contract):
    path = "river.linear_model.LogisticRegression"
    stream = staticmethod(two_classes)
