"""The contract of everything that learns.

A learner is a fold over the log: `learn` changes its state, `state` hands out all of it, `restore` puts it back, and
two learners with equal states answer and learn alike from then on, bit for bit. It knows arrays; it knows no Kafka, no
gRPC, no Prometheus. What it can do beyond this stands in `capabilities.py`. Check yours with
`thalweg.models.testing.LearnerContract`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.gauges import GaugeSpec, GaugeValue
from thalweg.proto.event import Batch
from thalweg.proto.schema import Array, Inputs, Schema, TensorSpec
from thalweg.proto.task import Task


@runtime_checkable
class Predictor(Protocol):
    """What answers: immutable, made by a learner, or read back from a published version in another process.

    Any number of threads may call `predict` at once; it takes no lock and changes nothing. The answer for a row does
    not depend on the other rows of the call.
    """

    @property
    def task(self) -> Task:
        """What kind of answer this is, and so how it is graded; the same for all predictors of a learner."""

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """What `predict` wants, by name."""

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """What `predict` gives, by name. An output of dtype `bytes` is held as int32 codes into `classes`."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names behind the codes of `label` and the columns of `scores`, in order; empty for regression."""

    @property
    def properties(self) -> Mapping[str, str]:
        """More for the model's metadata; may be empty. `classes` is added by the server."""

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        """Answer from what was learned so far.

        Args:
            inputs: Named arrays, each (N, ...) as in `inputs`; N may be 0.

        Returns:
            Named arrays, each (N, ...) as in `outputs`. Before the first learn, too: then `label` is -1 (nothing
            known) and `scores` is (N, 0). Answers are finite whatever was learned before, NaN, infinities and the
            largest numbers of the dtype (3.4e38 in float32) included. NaN says that there is no answer for a row: its
            key is not known, or its numbers are beyond what the model can take; other rows are answered as without it.

        Raises:
            InputError: A tensor is missing or has another shape; the message names it, with expected and got.
        """

    def state(self) -> State:
        """All that `predictor_from` needs to make an equal one, and no more: servable, not learning state."""


@runtime_checkable
class Learner(Protocol):
    """What learns. One thread drives it; nothing here is called concurrently."""

    @property
    def schema(self) -> Schema:
        """Inputs and label kind of the events it learns from."""

    def learn(self, batch: Batch) -> None:
        """Take up a micro-batch of labelled and unlabelled events, in order.

        Events that carry no label are no error: a supervised learner passes over them. An event is learned whole or
        not at all; after an exception the learner is not used any more (the process restarts from its snapshot).
        Whatever numbers come, NaN, infinities and the largest ones included, the state stays finite: an event whose
        numbers cannot be learned from is skipped.
        """

    def predictor(self) -> Predictor:
        """The best answerer for the state as it is now.

        Called before every micro-batch is learned (it gives the graded predictions) and when a version is published.
        May be the same object as before when nothing changed or when the learner refreshes its answers more rarely;
        when it refreshes must follow from its state alone, never from a clock.
        """

    def state(self) -> State:
        """Everything that later learning and answers depend on; arrays may be views, valid until the next `learn`.

        `meta` is the caller's: nothing in it changes later.
        """

    def restore(self, state: State) -> None:
        """Become the learner whose `state()` this was.

        Raises:
            ValueError: It was made under other parameters or for inputs of another shape; nothing has changed then.
        """

    @property
    def gauges_declared(self) -> Sequence[GaugeSpec]:
        """What `gauges` may give; an attribute of the class, may be empty."""

    def gauges(self) -> Mapping[str, GaugeValue]:
        """Figures for the operator, by the names declared; those that say nothing under its parameters left out."""


@dataclass(frozen=True, kw_only=True)
class LearnerContext:
    """What a new learner is made of; further fields come with a default, so that no factory breaks.

    Raises:
        ParamsError: A device that is not offered; key `device`.
    """

    inputs: Mapping[str, TensorSpec]
    """Of its events, by name."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Its own hyper-parameters, as they were written; those left out have the learner's default."""
    seed: int = 0
    """Of everything random in it."""
    device: str = "cpu"
    """Where it computes: `cpu`. `auto` becomes that: a learner is never told `auto`."""

    def __post_init__(self) -> None:
        if self.device == "auto":
            object.__setattr__(self, "device", "cpu")
        if self.device != "cpu":
            raise ParamsError({"device": f"other devices are not offered in this version, got {self.device!r}"})


class LearnerFactory(Protocol):
    """What the registry finds under a name: a class or function with these attributes."""

    def __call__(self, context: LearnerContext) -> Learner:
        """A new learner.

        Raises:
            ParamsError: Parameters are unknown, missing or out of range; all of them at once.
        """

    def predictor_from(self, state: State) -> Predictor:
        """The predictor whose `state()` this was; arrays may be read-only maps of a file."""


class ParamsError(ValueError):
    """Hyper-parameters that do not fit: one line per mistake, keyed by the parameter's name."""

    def __init__(self, mistakes: Mapping[str, str]) -> None:
        self.mistakes = dict(mistakes)
        super().__init__("; ".join(f"{key}: {text}" for key, text in self.mistakes.items()))
