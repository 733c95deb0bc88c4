"""What a learner or a predictor may be able to do beyond its contract: every such protocol, on one page.

Ask `capability(thing, Explainer)`, never `isinstance`: something that stands in front of another, as an encoder in
front of a learner, offers what that one offers, and has none of its methods. `isinstance` with a protocol takes
microseconds: who needs the answer for each request looks it up once per version.

A new capability is a protocol here, its name in one of the two tuples below, and an entry in the table of each wrapper
(`models/encoders/encoded.py`); `testing.WrapperContract` goes through the tuples, so none is forgotten.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Predictor
from thalweg.proto.event import Batch
from thalweg.proto.schema import Array, Inputs, TensorSpec

C = TypeVar("C")

# Of predictors


@runtime_checkable
class SequencePredictor(Protocol):
    """A predictor whose inputs alone do not say what it answers from: it also knows what came before, by key."""

    def predict_events(self, batch: Batch) -> Mapping[str, Array]:
        """What is answered to each event just before it comes, those above it in the batch having come.

        Returns:
            The outputs of `predict`, and figures of what came, (N,) each, NaN where there are none; see `Prequential`.
        """

    def with_history_of(self, newer: Predictor) -> Predictor:
        """The same knowledge, applied to what had come when another was made."""


@runtime_checkable
class AlternativeInputs(Protocol):
    """A predictor that also takes other inputs than those of the events it learns from."""

    @property
    def alternative_inputs(self) -> Mapping[str, TensorSpec]:
        """By name; given together, and without `inputs`. The same for as long as the predictor lives."""


@runtime_checkable
class InputValidator(Protocol):
    """A predictor that takes fewer inputs than their shapes and dtypes say."""

    def check(self, inputs: Inputs) -> None:
        """Raise InputError for those it does not take."""


@runtime_checkable
class Explainer(Protocol):
    """A predictor that can say what its answers were made from."""

    def explain(self, inputs: Inputs, most: int) -> list[Any]:
        """Per row, what counted, as JSON knows it, at most so many."""


class Course(NamedTuple):
    """Intensities of a key over time, and the events that came."""

    times: NDArray[np.float64]
    """(Q,), ascending."""
    rates: NDArray[np.float64]
    """(Q, classes), per second."""
    event_times: NDArray[np.float64]
    """(L,)."""
    event_types: NDArray[np.int64]
    """(L,), places in `classes`."""


@runtime_checkable
class IntensityCurves(Protocol):
    """A predictor that knows how likely an event was at any time, by key."""

    def course(self, key: bytes) -> Course | None:
        """Between a key's latest events; None if there are fewer than two."""


# Of learners


@runtime_checkable
class Forgetting(Protocol):
    """A learner that can be told to let go of what it learned, to follow a change faster."""

    def raise_forgetting(self, factor: float, events: int) -> None:
        """Let what comes count `factor` times as much against what was learned so far.

        Sums are faded by it at once; what learns at a rate does so that much faster for the next `events` events.
        Part of the state, like everything.
        """


@runtime_checkable
class SharedMemoryLearner(Protocol):
    """A learner with a memory too large to be copied for every version: it shares it with servers, in place."""

    def place(self, folder: Path) -> None:
        """Keep the memory in files of this folder, which servers see too, from now on; called before anything else.

        Files of earlier runs are the learner's own to remove. Its predictors' states may name files there.
        """


@runtime_checkable
class Mergeable(Protocol):
    """A learner that can take up what another has learned from other events."""

    def merge(self, other: State) -> None:
        """Go on as if it had learned what is in the `state()` of another as well.

        Raises:
            ValueError: That state was made under other parameters, or under these the order of events counts.
        """


@runtime_checkable
class Unlearner(Protocol):
    """A learner that can take back what it learned from given events."""

    def unlearn(self, batch: Batch) -> None:
        """Go on as if it had never learned these events, up to rounding.

        Args:
            batch: Events that were learned, with the same inputs, labels and weights.

        Raises:
            ValueError: They cannot have been learned, or under these parameters the order of events counts.
        """


PREDICTOR_CAPABILITIES: tuple[type, ...] = (
    SequencePredictor,
    AlternativeInputs,
    InputValidator,
    Explainer,
    IntensityCurves,
)
LEARNER_CAPABILITIES: tuple[type, ...] = (Forgetting, SharedMemoryLearner, Mergeable, Unlearner)


# Asking


class Wrapper(ABC):
    """What stands in front of a learner or a predictor and offers what that one offers."""

    @abstractmethod
    def capability(self, kind: type[C]) -> C | None:
        """The capability as it is seen from the front; None if the one behind does not have it."""


class PredictorWrapper(Wrapper):
    """A wrapper of a predictor, itself a `Predictor`."""

    @abstractmethod
    def predict_batch(self, batch: Batch) -> Mapping[str, Array]:
        """As the function of this name: what was computed for it here may serve when the batch is learned."""


def capability(thing: object, kind: type[C]) -> C | None:
    """What to call a capability on, whether the thing has it or stands in front of one that does; None: not offered.

    Args:
        thing: A learner or a predictor.
        kind: A protocol of this page.
    """
    if isinstance(thing, Wrapper):
        return thing.capability(kind)
    return thing if isinstance(thing, kind) else None


def predict_batch(predictor: Predictor, batch: Batch) -> Mapping[str, Array]:
    """What a predictor answered to the events of a batch before they came, for grading."""
    if isinstance(predictor, PredictorWrapper):
        return predictor.predict_batch(batch)
    sequence = capability(predictor, SequencePredictor)
    return predictor.predict(batch.inputs) if sequence is None else sequence.predict_events(batch)


def with_history(frozen: Predictor, now: Predictor) -> Predictor:
    """One that stopped learning, as it answers now: what came meanwhile it knows, but has not learned from."""
    sequence = capability(frozen, SequencePredictor)
    return frozen if sequence is None else sequence.with_history_of(now)
