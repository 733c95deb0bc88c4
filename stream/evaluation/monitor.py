"""The evaluation of a running model: prequential grading, a frozen baseline to compare with, and drift detection."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import structlog

from thalweg.memory.snapshots.state import State, under
from thalweg.models.contract.capabilities import SequencePredictor, capability, predict_batch
from thalweg.models.contract.learner import Learner, Predictor
from thalweg.proto.event import Batch
from thalweg.proto.schema import Array
from thalweg.proto.task import task_of
from thalweg.stream.drift.alarm import Alarm
from thalweg.stream.drift.columns import WatchedColumns
from thalweg.stream.drift.digest import Digest
from thalweg.stream.drift.drift import DriftWatch
from thalweg.stream.drift.params import DriftParams
from thalweg.stream.drift.signs import Observed
from thalweg.stream.evaluation.baseline import Baseline, Pinned
from thalweg.stream.evaluation.continual import Continual
from thalweg.stream.evaluation.controls.controls import Controls
from thalweg.stream.evaluation.curve import Curve, CurvePoint, newest_time
from thalweg.stream.evaluation.gathered import TOGETHER, Gathered, together_after
from thalweg.stream.evaluation.levels import Levels
from thalweg.stream.evaluation.new_classes import NewClasses
from thalweg.stream.evaluation.prequential import Prequential
from thalweg.stream.evaluation.report import EvaluationReport
from thalweg.stream.evaluation.served_answers import as_served
from thalweg.stream.evaluation.tasks import grading_of

log = structlog.get_logger(__name__)

_PARTS = ("frozen", "drift", "continual", "curve", "controls", "levels")
_LEAST_FOR_FLOOR = 100  # graded events of the recent window below which the floor is not judged


class Monitor:
    """Grades a learner and its frozen baseline, and detects drift in both; saved with the state.

    Args:
        learner: The learner to evaluate; only read, when its baseline is made.
        make: Creates a learner of the same kind that has learned nothing.
        window_events: Size of the recent window in events.
        frozen_after: The baseline is the learner after this many events; 0: no baseline.
        drift: Drift detection.
        baseline_path: Where the baseline is saved for a restart; None: it is not saved.
        pinned: A fixed version to use as the baseline.
        quality_floor: The worst acceptable value of the task's main metric over the recent window; None: any.
        continual_events: Events held per class for continual evaluation; 0: none.
        continual_share: Held events evaluated, as a share of the events seen.
        continual_bytes: Maximum bytes of the held events.
        seed: Seed of the sampling.
        delay_events: How many events late labels become known, besides those of their micro-batch; for the controls.
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
        quality_floor: float | None = None,
        continual_events: int = 10,
        continual_share: float = 0.02,
        continual_bytes: int = 4 << 20,
        seed: int = 0,
        delay_events: int = 0,
    ) -> None:
        self._learner = learner
        self._gathered = Gathered()
        self._baseline = Baseline(learner, make, frozen_after, baseline_path, pinned)
        self._events = self._replaced_at = 0
        self._replaced = ""
        self._window_events = window_events
        params = drift if drift is not None else DriftParams()
        predictor = learner.predictor()
        self.task = task_of(predictor)
        """The task of the graded predictions."""
        self._grading = grading_of(self.task)
        self._live = Prequential(window_events, self.task)
        self._frozen = Prequential(window_events, self.task)
        self._alone = (
            capability(predictor, SequencePredictor) is not None
        )  # its predictions depend on when they are made
        self._controls = Controls(self._grading, window_events, delay_events)
        self._new_classes = NewClasses()
        self.levels = Levels(window_events, self.task)
        self._floor = quality_floor
        self._continual = Continual(
            predictor, events=continual_events, share=continual_share, most_bytes=continual_bytes, seed=seed
        )
        self.curve = Curve()
        inputs = predictor.inputs if params.inputs else {}  # without a test on columns none are gathered
        self._inputs = WatchedColumns(inputs, params.max_columns, columns=learner.schema.columns)
        watched = self.task.watched and params.inputs
        answers = {name: spec for name, spec in predictor.outputs.items() if watched and name == self.task.answer}
        self._answers = WatchedColumns(answers, params.max_columns, codes=True)
        self.drift = DriftWatch(
            params,
            [*self._inputs.names, *self._answers.names],
            np.array([*self._inputs.categorical, *self._answers.categorical], dtype=np.bool_),
            len(self._answers.names),
        )

    def predicted(self, batch: Batch, predictor: Predictor, outputs: Mapping[str, Array]) -> None:
        """Evaluate predictions made before the batch is learned, or those that were served for its events.

        Micro-batches of less than 512 events are evaluated together, some events later; `settle` evaluates what waits.
        """
        self._new_classes.look(batch, predictor, self._events + self._gathered.events)
        if self._baseline.due(self._events + self._gathered.events):
            self.settle(predictor)
            self._baseline.make()
        if self._alone or len(batch) >= TOGETHER or batch.served is not None:
            self.settle(predictor)
            self._evaluate(batch, (len(batch),), predictor, outputs, predictor)
            return
        if not self._gathered.fits(predictor, outputs):
            self.settle(predictor)
        self._gathered.add(batch, predictor, outputs)
        if self._gathered.enough(together_after(self._events)):
            self.settle(predictor)

    def settle(self, predictor: Predictor | None = None) -> None:
        """Evaluate the micro-batches that wait.

        `predictor`: the present one; None: of the learner as it is.
        """
        if (waiting := self._gathered.take()) is not None:
            now = predictor if predictor is not None else self._learner.predictor()
            self._evaluate(waiting.batch, waiting.sizes, waiting.answerer, waiting.outputs, now)

    def _evaluate(
        self, batch: Batch, sizes: Sequence[int], by: Predictor, outputs: Mapping[str, Array], now: Predictor
    ) -> None:
        """Evaluate predictions for micro-batches of these sizes.

        Args:
            batch: The micro-batches.
            sizes: Events of each.
            by: A predictor as those that predicted.
            outputs: The predictions.
            now: The present predictor.
        """
        answerer, graded = as_served(batch, by, outputs)
        self._live.predicted(batch, answerer, graded, self._events + 1)
        self._controls.graded(self._live, batch, sizes)
        count = len(batch)
        frozen = self._baseline.answerer(by)
        if frozen is by:  # without a baseline its figures are the learner's
            self._frozen.predicted(batch, answerer, graded)
        elif frozen is not None:
            self._frozen.predicted(batch, frozen, predict_batch(frozen, batch))
        watched = [self._inputs.of(batch.inputs), self._answers.of(outputs)]
        self.drift.observe(
            Observed(
                times=batch.times,
                loss=self._live.losses(count),
                baseline=self._frozen.losses(count) if self._baseline.made else np.full(count, np.nan),
                confidence=self._grading.confidence(self.task, outputs, count),
                bounded=self._grading.bounded,
                columns=np.concatenate(watched, axis=1),
            )
        )
        self._continual.predicted(batch, now, self._live)
        self._events += count
        if news := self.drift.alarms_after(self.levels.newest):
            self.levels.raised(news, self._live, self.curve.points)
        if self.curve.due(self._events):
            self._add_point(batch)

    def _add_point(self, batch: Batch) -> None:
        main, frozen = self._live.main(), self._frozen.main()
        if main is not None and not math.isnan(main[1]):
            beside = math.nan if frozen is None else frozen[1]
            self.curve.add(main[0], CurvePoint(self._events, newest_time(batch.times), main[1], beside))

    @property
    def live(self) -> Prequential:
        """The learner's grades."""
        self.settle()
        return self._live

    @property
    def frozen(self) -> Prequential:
        """The frozen baseline's grades."""
        self.settle()
        return self._frozen

    @property
    def controls(self) -> Controls:
        """The naive controls."""
        self.settle()
        return self._controls

    @property
    def continual(self) -> Continual:
        """The accuracy on held-out events of each class."""
        self.settle()
        return self._continual

    @property
    def events(self) -> int:
        """Events seen so far."""
        return self._events + self._gathered.events

    @property
    def worst_case_accuracy(self) -> float:
        """The lowest accuracy that the full recent window ever had; NaN before."""
        return self.live.worst_case_accuracy

    def metrics(self) -> dict[str, float]:
        """The learner's figures over all events."""
        return self.live.metrics()

    def recent(self) -> dict[str, float]:
        """The learner's figures over the recent window."""
        return self.live.recent()

    def report(self, now: float) -> EvaluationReport:
        """An immutable report as of this time (Unix seconds)."""
        live, frozen = self.live, self._frozen
        return EvaluationReport(
            time=now,
            events=self._events,
            task=self.task,
            figures=MappingProxyType(live.figures()),
            recent_figures=MappingProxyType(live.recent_figures()),
            baseline=MappingProxyType(frozen.metrics()),
            baseline_recent=MappingProxyType(frozen.recent()),
            worst_case_accuracy=live.worst_case_accuracy,
            continual=MappingProxyType(self._continual.metrics()),
            curve_metric=self.curve.metric,
            curve=self.curve.points,
            drift_scores=MappingProxyType(self.drift.scores()),
            alarms=tuple(self.drift.alarms),
            classes=live.classes,
            replaced_at=self._replaced_at,
            replaced=self._replaced,
            before_replaced=self.levels.before_replaced,
            unlabelled_events=self.drift.unlabelled,
            unanswered=live.unanswered,
            left_out=live.left_out,
            recent_events=live.recent_events,
            controls=MappingProxyType(self._controls.metrics()),
            controls_recent=MappingProxyType(self._controls.recent()),
            quality_floor=self._floor,
            floor_breached=self._floor_breached(),
            levels=self.levels.before,
            recovery=self.levels.recovery(live, self._events),
        )

    def news(self) -> list[Alarm]:
        """Alarms raised or ended since the last call."""
        self.settle()
        return self.drift.news()

    def digest_news(self) -> list[Digest]:
        """Digests of drift that is no news, which ended since the last call."""
        self.settle()
        return self.drift.digest_news()

    def note_done(self, number: int, done: str) -> None:
        """Record what was done about an alarm, as text."""
        self.drift.note_done(number, done)

    def state_replaced(self, how: str) -> None:
        """The model was rolled back or begun anew: the recent windows begin again, because another state answers."""
        self.settle()
        self.levels.replaced(self._live, self._events)
        self._replaced_at, self._replaced = self._events, how
        self._live.begin_window()
        self._frozen.begin_window()
        self._controls.begin_window()

    def _floor_breached(self) -> bool | None:
        """Whether recent quality is worse than the floor; None: there is none, or too few events were graded."""
        if self._floor is None or self._live.recent_events < min(self._window_events, _LEAST_FOR_FLOOR):
            return None
        _, value = self._live.main() or ("", math.nan)
        if math.isnan(value):
            return None
        return value > self._floor if self.task.lower_is_better else value < self._floor

    def state(self) -> State:
        """The state that later figures and alarms depend on; the baseline itself has its own file."""
        self.settle()
        live = self._live.state()
        tensors, meta = dict(live.tensors), dict(live.meta)
        for part, one in self._parts().items():
            state = one.state()
            tensors |= {f"{part}/{name}": tensor for name, tensor in state.tensors.items()}
            meta[part] = state.meta
        if self._replaced:
            meta["replaced"] = [self._replaced_at, self._replaced]
        return State(tensors, {**meta, **self._baseline.meta(), "events": self._events})

    def save_baseline(self, path: Path) -> None:
        """Save the baseline to its file, for a service that goes on from this state. Raises OSError."""
        self._baseline.save(path)

    def restore(self, state: State) -> None:
        """Restore from `state()`; parts that an older version did not save start empty."""
        self._gathered.clear()
        own = {name: tensor for name, tensor in state.tensors.items() if "/" not in name}
        self._live.restore(State(own, state.meta))
        self._events = state.meta.get("events", 0)
        self._replaced_at, self._replaced = state.meta.get("replaced", (0, ""))
        for part, one in self._parts().items():
            if part in state.meta:
                one.restore(State(under(f"{part}/", state.tensors), state.meta[part]))
        if not self._baseline.restore(state.meta):  # a different baseline: figures of the previous one do not apply
            self._frozen = Prequential(self._window_events, self.task)

    def _parts(self) -> dict[str, Prequential | DriftWatch | Continual | Curve | Controls | Levels]:
        return dict(
            zip(
                _PARTS,
                (self._frozen, self.drift, self._continual, self.curve, self._controls, self.levels),
                strict=True,
            )
        )
