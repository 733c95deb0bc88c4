"""The contract of learners and predictors.

A learner is a fold over the log: `learn` changes its state, `state` returns all of it, `restore` sets it, and two
learners with equal states predict and learn identically from then on, bit for bit. A learner works on arrays and
does not depend on Kafka, gRPC or Prometheus. Optional capabilities are in `capabilities.py`. Test your own learner
with `thalweg.models.testing.LearnerContract`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from thalweg.memory.devices.names import AUTO, CPU, EXPECTED, is_device, numbered
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.gauges import GaugeSpec, GaugeValue
from thalweg.proto.event import Batch
from thalweg.proto.rows.column import Column
from thalweg.proto.schema import Array, Inputs, Schema, TensorSpec
from thalweg.proto.task import Task


@runtime_checkable
class Predictor(Protocol):
    """Makes predictions. Immutable; made by a learner, or from a published version in another process.

    Any number of threads may call `predict` at once; it takes no lock and changes nothing. The prediction for a row
    does not depend on the other rows of the call.
    """

    @property
    def task(self) -> Task:
        """The kind of prediction, which determines how it is graded; the same for all predictors of a learner."""

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """The input tensors of `predict`, by name."""

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """The output tensors of `predict`, by name. An output of dtype `bytes` is given as int32 codes into
        `classes`.
        """

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the codes of `label` and the columns of `scores`, in order; empty for regression."""

    @property
    def properties(self) -> Mapping[str, str]:
        """Further properties for the model's metadata; may be empty. The server adds `classes`."""

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        """Predict from what was learned so far.

        Args:
            inputs: Named arrays, each (N, ...) as in `inputs`; N may be 0.

        Returns:
            Named arrays, each (N, ...) as in `outputs`. Also before the first `learn`: then `label` is -1 (no known
            class)
            and `scores` is (N, 0). Predictions are finite whatever was learned before, including NaN, infinities and
            the
            largest numbers of the dtype (3.4e38 in float32). NaN means that there is no prediction for a row: its key
            is
            unknown, or its numbers are beyond the model's range; other rows are not affected.

        Raises:
            InputError: A tensor is missing or has another shape; the message names it, with expected and got.
        """

    def state(self) -> State:
        """The state from which `predictor_from` makes an equal predictor, and no more: for serving, not for
        learning.
        """


@runtime_checkable
class Learner(Protocol):
    """Learns from events. Driven by one thread; no method is called concurrently."""

    @property
    def schema(self) -> Schema:
        """Inputs and label kind of the events that it learns from."""

    def learn(self, batch: Batch) -> None:
        """Learn from a micro-batch of labelled and unlabelled events, in order.

        Events without a label are valid: a supervised learner skips them. An event is learned completely or not at
        all; after an exception the learner is not used any more (the process restarts from its snapshot). Whatever
        numbers arrive, including NaN, infinities and the largest ones, the state stays finite: an event whose
        numbers cannot be learned is skipped.
        """

    def predictor(self) -> Predictor:
        """A predictor for the present state.

        Called before every micro-batch is learned (its predictions are graded) and when a version is published. May
        return the same object as before if nothing changed, or if the learner refreshes its predictor less often;
        when it does so must depend on the state alone, never on a clock.
        """

    def state(self) -> State:
        """Everything that later learning and predictions depend on; arrays may be views, valid until the next `learn`.

        `meta` belongs to the caller: the learner does not modify it later.
        """

    def restore(self, state: State) -> None:
        """Restore the learner from `state()`.

        Raises:
            ValueError: It was made under other parameters or for inputs of another shape; then nothing was changed.
        """

    @property
    def gauges_declared(self) -> Sequence[GaugeSpec]:
        """Declarations of the values of `gauges`; a class attribute, may be empty."""

    def gauges(self) -> Mapping[str, GaugeValue]:
        """Gauges for the operator, by declared name; without those that have no value under the learner's
        parameters.
        """


@dataclass(frozen=True, kw_only=True)
class LearnerContext:
    """Everything from which a new learner is made; later fields have defaults, so that no factory breaks.

    Raises:
        ParamsError: No name of a device; key `device`.
    """

    inputs: Mapping[str, TensorSpec]
    """The inputs of its events, by name."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Its hyper-parameters as configured; missing ones have the learner's default."""
    seed: int = 0
    """Seed of everything random in it."""
    device: str = CPU
    """The device: `cpu`, or `cuda:N` for a learner whose factory declares `takes_device = True`. A learner never gets
    `auto`: here it becomes `cpu`."""
    spare_gpu: str = ""
    """The GPU that `device = "auto"` may become, where a factory's `gains_from_gpu` says so; empty: none. Not for the
    learner, which gets its device."""
    device_bytes: int = 0
    """Most bytes that the learner may keep on a GPU; 0: no limit of its own."""
    columns: Mapping[str, Column] = field(default_factory=dict)
    """The columns, by name, if the inputs are columns. Only a learner whose factory declares `takes_columns = True` is
    made with them, and puts them in its schema; all others learn from the one input `features` of a feature stage."""

    smooth: Sequence[int] | None = None
    """Behind a feature stage: places of the input `features` that hold scaled numbers and parts of times, whose values
    are bounded and lie close together. Others are 0 or 1, or numbers as they are. None: not known."""

    def __post_init__(self) -> None:
        if not is_device(self.device):
            raise ParamsError({"device": f"expected {EXPECTED}, got {self.device!r}"})
        object.__setattr__(self, "device", CPU if self.device == AUTO else numbered(self.device))


class LearnerFactory(Protocol):
    """The object that the registry finds under a name: a class or function with these attributes.

    Further attributes may be declared. `state_version` is the layout of its state, 1 if it is not declared: raise it
    when a state of before must not be restored any more, and `state_revision`, likewise, when versions of before cannot
    read a new one (see `layouts.py`). `merged_defaults` and `merge_mistakes` say what merging the shards of a model
    needs (see `merging.py`).

    With `takes_device = True` its learners compute on the context's device. Then `gains_from_gpu`, a
    function of the context, says whether one gains from a GPU at its size, so that `device = "auto"` means it; without
    it, `auto` means the processor. With `predictor_on(state, device)`, as `predictor_from`, servers compute answers on
    the device, too. See `devices.py`.
    """

    def __call__(self, context: LearnerContext) -> Learner:
        """A new learner.

        Raises:
            ParamsError: Parameters are unknown, missing or out of range; all of them at once.
        """

    def predictor_from(self, state: State) -> Predictor:
        """Restore a predictor from its `state()`; arrays may be read-only maps of a file."""


class ParamsError(ValueError):
    """Invalid hyper-parameters: one line per mistake, keyed by the parameter's name."""

    def __init__(self, mistakes: Mapping[str, str]) -> None:
        self.mistakes = dict(mistakes)
        super().__init__("; ".join(f"{key}: {text}" for key, text in self.mistakes.items()))
