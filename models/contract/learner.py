"""The contract of everything that learns.

A learner is a fold over the log: `learn` changes its state, `state` hands out all of it, `restore` puts it back, and
two learners with equal states answer and learn alike from then on, bit for bit. It knows arrays; it knows no Kafka, no
gRPC, no Prometheus. Check yours with `thalweg.models.contract.testing.LearnerContract`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from thalweg.memory.snapshots.state import State
from thalweg.proto.event import Batch
from thalweg.proto.schema import Array, Inputs, Schema, TensorSpec


@runtime_checkable
class Predictor(Protocol):
    """What answers: immutable, made by a learner, or read back from a published version in another process.

    Any number of threads may call `predict` at once; it takes no lock and changes nothing. The answer for a row does
    not depend on the other rows of the call.
    """

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
            known) and `scores` is (N, 0).

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
        """Become the learner whose `state()` this was. Raises `ValueError` if it was made under other parameters."""

    def gauges(self) -> Mapping[str, float]:
        """Figures for the operator, by metric suffix (`memory_entries`, `memory_evictions` …); may be empty."""


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


def predict_batch(predictor: Predictor, batch: Batch) -> Mapping[str, Array]:
    """What a predictor answered to the events of a batch before they came, for grading."""
    return (
        predictor.predict_events(batch) if isinstance(predictor, SequencePredictor) else predictor.predict(batch.inputs)
    )


def with_history(frozen: Predictor, now: Predictor) -> Predictor:
    """One that stopped learning, as it answers now: what came meanwhile it knows, but has not learned from."""
    return frozen.with_history_of(now) if isinstance(frozen, SequencePredictor) else frozen


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


class LearnerFactory(Protocol):
    """What the registry finds under a name: a class or function with these attributes."""

    def __call__(self, *, inputs: Mapping[str, TensorSpec], params: Mapping[str, Any], seed: int) -> Learner:
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
