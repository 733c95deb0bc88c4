"""A learner as small as one can be, and one that has every capability there is: what batteries are tried on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.capabilities import Course
from thalweg.models.contract.gauges import CLASSES, SKIPPED_EVENTS, GaugeSpec, GaugeValue
from thalweg.models.contract.learner import LearnerContext, Predictor
from thalweg.models.parts.input_columns import InputColumns
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import Array, InputError, Inputs, Schema, TensorSpec
from thalweg.proto.task import CLASSIFICATION, Task

WIDTH = 4
LARGEST = 1e6
"""Larger numbers are not learned from."""


def context(width: int = WIDTH) -> LearnerContext:
    """Of `features`, so wide."""
    return LearnerContext(inputs={"features": TensorSpec("features", "float32", (width,))})


def batches(count: int = 5, events: int = 12) -> list[Batch]:
    """Three classes; some events without a label; each with an id, a key and a weight."""
    found = []
    for number in range(count):
        generator = np.random.default_rng(number)
        codes = generator.integers(-1, 3, events).astype(np.int32)
        x = (generator.normal(size=(events, WIDTH)) + 3 * np.eye(3, WIDTH)[codes]).astype(np.float32)
        times = 100.0 * number + np.arange(events)
        found.append(
            Batch(
                {"features": x},
                ClassLabels(codes, ("a", "b", "c")),
                generator.uniform(0.5, 2.0, events),
                times,
                [f"e{number}-{row}" for row in range(events)],
                [f"k{row % 3}" for row in range(events)],
            )
        )
    return found


class ToyPredictor:
    """The closest mean."""

    def __init__(self, columns: InputColumns, classes: tuple[str, ...], means: NDArray[np.float64], seen: int) -> None:
        self.columns, self._classes, self.means, self.seen = columns, classes, means, seen

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        return self.columns.specs

    @property
    def task(self) -> Task:
        return CLASSIFICATION

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        return {"label": TensorSpec("label", "bytes", ()), "scores": TensorSpec("scores", "float32", (-1,))}

    @property
    def classes(self) -> tuple[str, ...]:
        return self._classes

    @property
    def properties(self) -> Mapping[str, str]:
        return {"toy": "yes"}

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        x = self.columns.gather(inputs).astype(np.float64)
        distance = np.square(x[:, None] - self.means).sum(axis=2)  # (N, C)
        if not self._classes:
            return {"label": np.full(len(x), -1, np.int32), "scores": np.zeros((len(x), 0), np.float32)}
        scores = (1 / (1 + distance)).astype(np.float32)
        return {"label": scores.argmax(axis=1).astype(np.int32), "scores": scores}

    def state(self) -> State:
        specs = [[spec.name, spec.dtype, list(spec.shape)] for spec in self.inputs.values()]
        return State({"means": self.means}, {"classes": list(self.classes), "seen": self.seen, "inputs": specs})

    @classmethod
    def of(cls, state: State) -> ToyPredictor:
        """The one whose state this was."""
        specs = {name: TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in state.meta["inputs"]}
        return cls(InputColumns(specs), tuple(state.meta["classes"]), state.tensors["means"], state.meta["seen"])


class Toy:
    """Means of classes; events of weight 0, or that are too large or no numbers, are skipped."""

    gauges_declared = (
        CLASSES,
        SKIPPED_EVENTS,
        GaugeSpec(name="taken", help="Events taken", kind="counter", labels=("labelled",)),
    )
    predictors: type[ToyPredictor] = ToyPredictor

    events = staticmethod(batches)
    """The micro-batches that it is tried on."""

    def __init__(self, context: LearnerContext) -> None:
        self.columns = InputColumns(context.inputs)
        self.classes: dict[str, int] = {}
        self.sums = np.zeros((0, self.columns.width))
        self.weights = np.zeros(0)
        self.counts = {"seen": 0, "skipped": 0, "yes": 0, "no": 0}

    @property
    def schema(self) -> Schema:
        return Schema(self.columns.specs, "class")

    def learn(self, batch: Batch) -> None:
        self.take(batch, 1)

    def take(self, batch: Batch, sign: int) -> None:
        """Add events, or take them away."""
        x = self.columns.gather(batch.inputs).astype(np.float64)
        with np.errstate(invalid="ignore"):
            usable = (np.abs(x) < LARGEST).all(axis=1) & (batch.weights > 0)
        self.counts["seen"] += sign * len(x)
        self.counts["skipped"] += int((~usable).sum())
        labelled = usable & (batch.labels.present if batch.labels is not None else False)
        self.counts["yes"] += int(labelled.sum())
        self.counts["no"] += int((usable & ~labelled).sum())
        if not isinstance(batch.labels, ClassLabels):
            return
        for row in np.flatnonzero(labelled):
            code = self.classes.setdefault(batch.labels.names[batch.labels.codes[row]], len(self.classes))
            self.grow()
            self.sums[code] += sign * batch.weights[row] * x[row]
            self.weights[code] += sign * batch.weights[row]

    def grow(self) -> None:
        """Room for the classes that are known."""
        missing = len(self.classes) - len(self.weights)
        if missing:
            self.sums, self.weights = np.pad(self.sums, ((0, missing), (0, 0))), np.pad(self.weights, (0, missing))

    def predictor(self) -> ToyPredictor:
        means = self.sums / np.maximum(self.weights, 1e-9)[:, None]
        return self.predictors(self.columns, tuple(self.classes), means, self.counts["seen"])

    @classmethod
    def predictor_from(cls, state: State) -> ToyPredictor:
        """The one whose state this was."""
        return cls.predictors.of(state)

    def state(self) -> State:
        meta = {"width": self.columns.width, "classes": list(self.classes), "counts": dict(self.counts)}
        return State({"sums": self.sums, "weights": self.weights}, meta)

    def restore(self, state: State) -> None:
        self.refuse(state)
        self.sums, self.weights = np.array(state.tensors["sums"]), np.array(state.tensors["weights"])
        self.classes = {name: code for code, name in enumerate(state.meta["classes"])}
        self.counts = dict(state.meta["counts"])

    def refuse(self, state: State) -> None:
        """Raise ValueError for a state of another width."""
        if state.meta["width"] != self.columns.width:
            raise ValueError(f"expected a state of width {self.columns.width}, got {state.meta['width']}")

    def gauges(self) -> Mapping[str, GaugeValue]:
        taken = {(kind,): float(self.counts[kind]) for kind in ("yes", "no")}
        return {"classes": float(len(self.classes)), "skipped_events": float(self.counts["skipped"]), "taken": taken}


class CapablePredictor(ToyPredictor):
    """It knows how many events came, takes a `code` instead of features, and takes and explains more than it need."""

    def predict_events(self, batch: Batch) -> Mapping[str, Array]:
        order = self.seen + np.arange(len(batch), dtype=np.float64)
        return {**ToyPredictor.predict(self, batch.inputs), "order": order}

    def with_history_of(self, newer: Predictor) -> Predictor:
        assert isinstance(newer, CapablePredictor)
        found = copy(self)
        found.seen = newer.seen
        return found

    @property
    def alternative_inputs(self) -> Mapping[str, TensorSpec]:
        return {"code": TensorSpec("code", "int64", ())}

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        if set(inputs) != {"code"}:
            return super().predict(inputs)
        codes = np.asarray(inputs["code"]).clip(-1, len(self.classes) - 1).astype(np.int32)
        return {"label": codes, "scores": np.eye(len(self.classes), dtype=np.float32)[codes]}

    def check(self, inputs: Inputs) -> None:
        if "code" not in inputs and (np.abs(self.columns.gather(inputs)) > 100).any():
            raise InputError("input 'features': expected numbers from -100 to 100")

    def explain(self, inputs: Inputs, most: int) -> list[Any]:
        scores = self.predict(inputs)["scores"]
        return [[{"class": name, "score": float(s)} for name, s in zip(self.classes, row)][:most] for row in scores]

    def course(self, key: bytes) -> Course | None:
        times = np.arange(self.seen, dtype=np.float64)
        rates = np.full((self.seen, len(self.classes)), float(len(key)))
        return Course(times, rates, times[:1], np.zeros(1, np.int64)) if self.seen > 1 else None

    @property
    def untaught(self) -> bool:
        return not self.seen


class Capable(Toy):
    """A toy with every capability of a learner; its predictor has every one of a predictor."""

    predictors = CapablePredictor

    def __init__(self, context: LearnerContext) -> None:
        super().__init__(context)
        self.folder: Path | None = None

    def raise_forgetting(self, factor: float, events: int) -> None:
        self.sums /= factor
        self.weights /= factor
        self.counts["seen"] += events

    @property
    def computed_on(self) -> str:
        return "a toy's GPU"

    def place(self, folder: Path) -> None:
        self.folder = folder
        (folder / "memory").write_bytes(b"toy")

    def merge(self, other: State) -> None:
        self.refuse(other)
        theirs = type(self)(LearnerContext(inputs=self.columns.specs))
        theirs.restore(other)
        for name, code in theirs.classes.items():
            mine = self.classes.setdefault(name, len(self.classes))
            self.grow()
            self.sums[mine] += theirs.sums[code]
            self.weights[mine] += theirs.weights[code]
        self.counts = {name: count + theirs.counts[name] for name, count in self.counts.items()}

    def average(self, published: Sequence[tuple[State, float]]) -> State:
        classes: dict[str, NDArray[np.float64]] = {}
        for state, weight in published:
            for name, mean in zip(state.meta["classes"], state.tensors["means"]):
                classes[name] = classes.get(name, np.zeros(len(mean) + 1)) + weight * np.append(mean, 1.0)
        return State({f"class.{name}": summed for name, summed in classes.items()})

    def mix(self, others: State, weight: float) -> None:
        for name, summed in others.tensors.items():
            code = self.classes.get(name.removeprefix("class."))
            if code is not None:
                self.sums[code] += summed[:-1]
                self.weights[code] += summed[-1] / weight

    def unlearn(self, batch: Batch) -> None:
        if isinstance(batch.labels, ClassLabels) and set(batch.labels.names) - set(self.classes):
            raise ValueError("a class that was never learned")
        self.take(batch, -1)
