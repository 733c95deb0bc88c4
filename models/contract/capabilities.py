"""Optional capabilities of a learner or a predictor, beyond the contract: all protocols in one place.

Query them by `capability(thing, Explainer)`, never by `isinstance`: a wrapper, such as an encoder in front of a
learner, has the capabilities of the wrapped object but not its methods. `isinstance` with a protocol takes
microseconds: look the capability up once per version, not per request.

A new capability needs a protocol here, its name in one of the two tuples below, and an entry in the table of each
wrapper (`models/encoders/encoded.py`); `testing.WrapperContract` iterates over the tuples, so none is forgotten.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Predictor
from thalweg.proto.event import Batch
from thalweg.proto.schema import Array, Inputs, TensorSpec

C = TypeVar("C")

# Capabilities of predictors


@runtime_checkable
class SequencePredictor(Protocol):
    """A predictor whose predictions depend not only on the inputs but also on the history of the key."""

    def predict_events(self, batch: Batch) -> Mapping[str, Array]:
        """The prediction for each event just before it occurs, given the earlier events of the batch.

        Returns:
            The outputs of `predict`, and measures of the event, (N,) each, NaN if unknown; see `Prequential`.
        """

    def with_history_of(self, newer: Predictor) -> Predictor:
        """The same learned state, applied to the history that `newer` knows."""


@runtime_checkable
class AlternativeInputs(Protocol):
    """A predictor that also accepts inputs other than those of the events it learns from."""

    @property
    def alternative_inputs(self) -> Mapping[str, TensorSpec]:
        """The alternative inputs by name; given all together, and without `inputs`. Constant for a predictor."""


@runtime_checkable
class InputValidator(Protocol):
    """A predictor with further conditions on inputs than shapes and dtypes."""

    def check(self, inputs: Inputs) -> None:
        """Raise InputError for invalid inputs."""


@runtime_checkable
class Explainer(Protocol):
    """A predictor that can explain its predictions."""

    def explain(self, inputs: Inputs, most: int) -> list[Any]:
        """Per row, at most `most` entries that explain the prediction, as JSON values, and what remains beside them."""


class Course(NamedTuple):
    """The intensities of a key over time, and its events."""

    times: NDArray[np.float64]
    """(Q,), ascending."""
    rates: NDArray[np.float64]
    """(Q, classes), per second."""
    event_times: NDArray[np.float64]
    """(L,)."""
    event_types: NDArray[np.int64]
    """(L,), indices into `classes`."""


@runtime_checkable
class IntensityCurves(Protocol):
    """A predictor that can compute the intensity of a key's events at any time."""

    def course(self, key: bytes) -> Course | None:
        """The intensities between a key's latest events; None if it has fewer than two."""


@runtime_checkable
class Untaught(Protocol):
    """A predictor of numbers that says whether it has learned any: until then its numbers are no answer.

    A classifier says so by having no classes, an estimator of somebody else's by NaN.
    """

    @property
    def untaught(self) -> bool:
        """Whether it has learned no label. Constant for a predictor."""


# Capabilities of learners


@runtime_checkable
class Forgetting(Protocol):
    """A learner that can discount what it learned, to adapt to a change faster."""

    def raise_forgetting(self, factor: float, events: int) -> None:
        """Give new events `factor` times as much weight relative to the earlier ones.

        Sums are discounted at once; a learner with a learning rate raises it for the next `events` events. Part of
        the state.
        """


@runtime_checkable
class SharedMemoryLearner(Protocol):
    """A learner whose memory is too large to be copied for every version: it shares it with servers, in place."""

    def place(self, folder: Path) -> None:
        """From now on, keep the memory in files of this folder, which servers read too; called before anything else.

        The learner removes files of earlier runs itself. The states of its predictors may name files there.
        """


@runtime_checkable
class GrowingState(Protocol):
    """A learner whose state is small while events are few, and then becomes large at once."""

    @property
    def grown_bytes(self) -> int:
        """What its state takes, at least, once it has."""


@runtime_checkable
class Mergeable(Protocol):
    """A learner that can merge what another one has learned from other events."""

    def merge(self, other: State) -> None:
        """Continue as if the events behind another learner's `state()` had been learned as well. A learner of
        which that is only roughly true says what is not exact.

        Raises:
            ValueError: The state was made under other parameters, or these parameters make the order of events matter.
        """


@runtime_checkable
class Unlearner(Protocol):
    """A learner that can remove the effect of given events."""

    def unlearn(self, batch: Batch) -> None:
        """Continue as if these events had never been learned, up to rounding.

        Args:
            batch: Events that were learned, with the same inputs, labels and weights.

        Raises:
            ValueError: They cannot have been learned, or these parameters make the order of events matter.
        """


@runtime_checkable
class Averageable(Protocol):
    """A learner some of whose parameters are about all keys, so that shards of other keys may average them."""

    def average(self, published: Sequence[tuple[State, float]]) -> State:
        """The weighted mean of these parameters, for `mix`. Changes nothing.

        Args:
            published: States of predictors of such learners, as they are published, at least one; weights above 0.

        Raises:
            ValueError: A state is of other parameters or of another shape.
        """

    def mix(self, others: State, weight: float) -> None:
        """Replace its parameters by their weighted mean with `others`, which `average` has returned.

        The same in every process. Parameters that others do not have stay as they are.

        Args:
            others: Contains its own weights.
            weight: Of its own parameters, above 0.
        """


@runtime_checkable
class OnDevice(Protocol):
    """A learner that can compute on a GPU, or whose encoder does."""

    @property
    def computed_on(self) -> str:
        """The kind of GPU and its software, on which the bits of the state depend; empty on the processor."""


PREDICTOR_CAPABILITIES: tuple[type, ...] = (
    SequencePredictor,
    AlternativeInputs,
    InputValidator,
    Explainer,
    IntensityCurves,
    Untaught,
)
LEARNER_CAPABILITIES: tuple[type, ...] = (Forgetting, SharedMemoryLearner, Mergeable, Unlearner, Averageable, OnDevice)


def computed_on(learner: object) -> str:
    """On which GPU and software a learner computes; empty on the processor."""
    found = capability(learner, OnDevice)
    return "" if found is None else found.computed_on


# Lookup


class Wrapper(ABC):
    """A wrapper of a learner or a predictor that passes on its capabilities."""

    @abstractmethod
    def capability(self, kind: type[C]) -> C | None:
        """The capability as offered by the wrapper; None if the wrapped object does not have it."""


class PredictorWrapper(Wrapper):
    """A wrapper of a predictor, itself a `Predictor`."""

    @abstractmethod
    def predict_batch(self, batch: Batch) -> Mapping[str, Array]:
        """As the function of this name; may cache what it computed until the batch is learned."""


def capability(thing: object, kind: type[C]) -> C | None:
    """The object on which to call a capability, for a wrapper as well; None if there is none.

    Args:
        thing: A learner or a predictor.
        kind: A protocol of this module.
    """
    if isinstance(thing, Wrapper):
        return thing.capability(kind)
    # no isinstance: it takes microseconds, and since Python 3.12 it does not ask `__getattr__`
    missing = _missing(type(thing), kind)  # type: ignore[arg-type]
    if missing and not (hasattr(type(thing), "__getattr__") or missing <= getattr(thing, "__dict__", {}).keys()):
        return None
    return thing if all(hasattr(thing, name) for name in missing) else None  # type: ignore[return-value]


@cache
def _missing(type_: type, kind: type) -> frozenset[str]:
    """The members of a protocol that a class does not define."""
    return frozenset(name for name in dir(kind) if not name.startswith("_") and not hasattr(type_, name))


def predict_batch(predictor: Predictor, batch: Batch) -> Mapping[str, Array]:
    """The predictions for the events of a batch, each from before it occurred, for grading; numbers of a predictor that
    has learned none are NaN, which is no answer.
    """
    if isinstance(predictor, PredictorWrapper):
        return predictor.predict_batch(batch)
    sequence = capability(predictor, SequencePredictor)
    outputs = predictor.predict(batch.inputs) if sequence is None else sequence.predict_events(batch)
    if not is_untaught(predictor):
        return outputs
    answer = predictor.task.answer
    return {**outputs, answer: np.full(outputs[answer].shape, np.nan)}


def is_untaught(predictor: Predictor) -> bool:
    """Whether it predicts numbers and has learned no label yet."""
    if predictor.task.remembered != "numbers":
        return False
    found = capability(predictor, Untaught)
    return found is not None and found.untaught


def with_history(frozen: Predictor, now: Predictor) -> Predictor:
    """A frozen predictor with the present history: it knows the events since then but has not learned from them."""
    sequence = capability(frozen, SequencePredictor)
    return frozen if sequence is None else sequence.with_history_of(now)
