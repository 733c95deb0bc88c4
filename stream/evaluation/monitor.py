"""What is always on beside learning: grades, a frozen twin to compare with, and the watch for drift."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.capabilities import predict_batch
from thalweg.models.contract.learner import Learner, Predictor
from thalweg.proto.event import Batch, NumberLabels
from thalweg.proto.schema import Array, TensorSpec
from thalweg.stream.drift.alarm import Alarm
from thalweg.stream.drift.drift import DriftWatch, Observed
from thalweg.stream.drift.params import DriftParams
from thalweg.stream.evaluation.baseline import Baseline, Pinned
from thalweg.stream.evaluation.continual import Continual
from thalweg.stream.evaluation.curve import Curve, CurvePoint, newest_time
from thalweg.stream.evaluation.prequential import Prequential
from thalweg.stream.evaluation.served_answers import as_served

log = structlog.get_logger(__name__)

_PARTS = ("frozen", "drift", "continual", "curve")


class Monitor:
    """Grades a learner and its frozen twin, and watches both for drift; saved with the state.

    Args:
        learner: The one that is watched; only read, when its twin is made.
        make: Makes one like it, with nothing learned.
        window_events: How far the recent figures look back.
        frozen_after: The twin is the learner as it was after so many events; 0: there is none.
        drift: What watches.
        baseline_path: Where the twin is kept, so that a restart has it; None: nowhere.
        pinned: A version that the twin is to be instead.
        continual_events: How many events of every class are held and asked again; 0: none.
        continual_share: How many of those are asked, as a share of the events.
        continual_bytes: Bound on what is held.
        seed: Of what is held.
    """

    def __init__(
        self,
        learner: Learner,
        make: Callable[[], Learner],
        *,
        window_events: int = 1000,
        frozen_after: int = 1000,
        drift: DriftParams | None = None,
        baseline_path: Path | None = None,
        pinned: Pinned | None = None,
        continual_events: int = 10,
        continual_share: float = 0.02,
        continual_bytes: int = 4 << 20,
        seed: int = 0,
    ) -> None:
        self._twin = Baseline(learner, make, frozen_after, baseline_path, pinned)
        self._events = 0
        self._window_events = window_events
        self.live = Prequential(window_events)
        self.frozen = Prequential(window_events)
        params = drift if drift is not None else DriftParams()
        predictor = learner.predictor()
        self.continual = Continual(
            predictor, events=continual_events, share=continual_share, most_bytes=continual_bytes, seed=seed
        )
        self.curve = Curve()
        self._inputs = _Columns(predictor.inputs, params.max_columns)
        answers = [name for name in ("label", "value", "score") if name in predictor.outputs]
        self._answers = _Columns(
            {name: predictor.outputs[name] for name in answers[:1]}, params.max_columns, codes=True
        )
        self.drift = DriftWatch(
            params,
            [*self._inputs.names, *self._answers.names],
            np.array([*self._inputs.categorical, *self._answers.categorical], dtype=np.bool_),
            len(self._answers.names),
        )

    def predicted(self, batch: Batch, predictor: Predictor, outputs: Mapping[str, Array]) -> None:
        """Take up what was answered before the batch is learned, or, to events that were asked before, then."""
        answerer, graded = as_served(batch, predictor, outputs)
        self.live.predicted(batch, answerer, graded)
        count = len(batch)
        twin, unknown = self._twin.answerer(self._events, predictor), np.full(count, np.nan)
        if twin is not None:
            twin, answers = (answerer, graded) if twin is predictor else (twin, predict_batch(twin, batch))
            self.frozen.predicted(batch, twin, answers)
        loss, bounded = _losses(self.live, batch, graded)
        watched = [self._inputs.of(batch.inputs), self._answers.of(outputs)]
        self.drift.observe(
            Observed(
                times=batch.times,
                loss=loss,
                twin=_losses(self.frozen, batch, answers)[0] if self._twin.made else unknown,
                confidence=_confidence(outputs, count),
                bounded=bounded,
                columns=np.concatenate(watched, axis=1),
            )
        )
        self.continual.predicted(batch, predictor, self.live)
        self._events += count
        if self.curve.due(self._events):
            self._add_point(batch)

    def _add_point(self, batch: Batch) -> None:
        main, frozen = self.live.main(), self.frozen.main()
        if main is not None and not math.isnan(main[1]):
            beside = math.nan if frozen is None else frozen[1]
            self.curve.add(main[0], CurvePoint(self._events, newest_time(batch.times), main[1], beside))

    @property
    def events(self) -> int:
        """Events met so far."""
        return self._events

    @property
    def worst_case_accuracy(self) -> float:
        """The lowest accuracy that the recent window, once full, had after any event; NaN before."""
        return self.live.worst_case_accuracy

    def metrics(self) -> dict[str, float]:
        """The learner's figures over all events."""
        return self.live.metrics()

    def recent(self) -> dict[str, float]:
        """The learner's figures over the recent window."""
        return self.live.recent()

    def news(self) -> list[Alarm]:
        """Alarms raised or ended since the last call."""
        return self.drift.news()

    def note_done(self, number: int, done: str) -> None:
        """Write down what was done about an alarm, in words."""
        self.drift.note_done(number, done)

    def state(self) -> State:
        """Everything later figures and alarms depend on; the twin itself has its own file."""
        live = self.live.state()
        tensors, meta = dict(live.tensors), dict(live.meta)
        for part, one in self._parts().items():
            state = one.state()
            tensors |= {f"{part}/{name}": tensor for name, tensor in state.tensors.items()}
            meta[part] = state.meta
        return State(tensors, {**meta, **self._twin.meta(), "events": self._events})

    def restore(self, state: State) -> None:
        """Become the monitor whose `state()` this was; what an older version did not keep begins anew."""
        own = {name: tensor for name, tensor in state.tensors.items() if "/" not in name}
        self.live.restore(State(own, state.meta))
        self._events = state.meta.get("events", 0)
        for part, one in self._parts().items():
            if part in state.meta:
                tensors = {n.removeprefix(f"{part}/"): t for n, t in state.tensors.items() if n.startswith(f"{part}/")}
                one.restore(State(tensors, state.meta[part]))
        if not self._twin.restore(state.meta):  # another one: what was said of the one before says nothing of it
            self.frozen = Prequential(self._window_events)

    def _parts(self) -> dict[str, Prequential | DriftWatch | Continual | Curve]:
        return dict(zip(_PARTS, (self.frozen, self.drift, self.continual, self.curve)))


class _Columns:
    """Some tensors as columns of numbers."""

    def __init__(self, specs: Mapping[str, TensorSpec], most: int, *, codes: bool = False) -> None:
        self._places: list[tuple[str, NDArray[np.intp]]] = []
        self.names: list[str] = []
        self.categorical: list[bool] = []
        kept = {name: spec for name, spec in specs.items() if codes or spec.dtype != "bytes"}
        for name, spec in kept.items():
            size = int(np.prod([max(1, length) for length in spec.shape], dtype=np.int64))
            share = max(1, most // len(kept))
            places = np.unique(np.linspace(0, size - 1, min(size, share)).astype(np.intp))
            self._places.append((name, places))
            self.names += [f"{name}[{place}]" if spec.shape else name for place in places.tolist()]
            self.categorical += [spec.dtype in ("bytes", "int64", "int32")] * len(places)

    def of(self, tensors: Mapping[str, Array]) -> NDArray[np.float32]:
        """(N, F)."""
        found = []
        for name, places in self._places:
            rows = tensors[name].reshape(len(tensors[name]), math.prod(tensors[name].shape[1:]))
            if rows.shape[1] <= places[-1]:  # shorter than it may be
                blank = np.full((len(rows), int(places[-1]) + 1), np.nan, dtype=np.float32)
                blank[:, : rows.shape[1]] = rows
                rows = blank
            if rows.dtype.kind in "iu" and rows.dtype.itemsize > 2:
                rows = rows % 16_777_213  # whole in float32
            found.append((rows if rows.shape[1] == len(places) else rows[:, places]).astype(np.float32, copy=False))
        return np.concatenate(found, axis=1) if found else np.zeros((_rows(tensors), 0), dtype=np.float32)


def _rows(tensors: Mapping[str, Array]) -> int:
    return len(next(iter(tensors.values()))) if tensors else 0


def _losses(graded: Prequential, batch: Batch, outputs: Mapping[str, Array]) -> tuple[NDArray[np.float64], bool]:
    """The loss of each event (N,), NaN where it was not graded; and whether it lies within [0, 1].

    Zero-one loss of classes, Brier score of probabilities, negative log-likelihood of points, absolute error.
    """
    losses, grades = np.full(len(batch), np.nan), graded.grades
    if grades is None:
        return losses, True
    if "hazard" in grades.columns:
        losses[grades.rows] = -grades.columns["log_likelihood"]
        return losses, False
    if "score" in outputs and isinstance(batch.labels, NumberLabels):
        truth = batch.labels.values[grades.rows, 0] >= 0.5
        given = np.clip(np.nan_to_num(outputs["score"][grades.rows].astype(np.float64)), 0, 1)
        losses[grades.rows] = (given - truth) ** 2
        return losses, True
    if "correct" in grades.columns:
        losses[grades.rows] = 1.0 - grades.columns["correct"]
        return losses, True
    losses[grades.rows] = np.minimum(grades.columns["absolute"], 1e300)
    return losses, False


def _confidence(outputs: Mapping[str, Array], count: int) -> NDArray[np.float64]:
    """How sure the answers were, (N,): the highest score, or the distance of a probability from one half."""
    if "scores" in outputs and outputs["scores"].shape[1] > 1:
        highest: NDArray[np.float64] = outputs["scores"].max(axis=1).astype(np.float64)
        return highest
    if "score" in outputs:
        return np.abs(outputs["score"].astype(np.float64) - 0.5)
    return np.full(count, np.nan)
