"""An evaluation report: made by the learner's thread, immutable, read by any thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from thalweg.proto.task import Task
from thalweg.stream.drift.alarm import Alarm
from thalweg.stream.evaluation.curve import CurvePoint
from thalweg.stream.evaluation.figures.bounds import Bound
from thalweg.stream.evaluation.levels import Recovery


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """All figures after the same event. Mappings are read-only; made by `Monitor.report`."""

    time: float
    """When it was made, Unix seconds."""
    events: int
    """Events seen."""
    task: Task
    """The task of the graded predictions."""
    figures: Mapping[str, tuple[float, Bound | None]]
    """Over all events: by name, the figure and its 95 % confidence interval if known."""
    recent_figures: Mapping[str, tuple[float, Bound | None]]
    """The same over the recent window."""
    baseline: Mapping[str, float]
    """Figures of the frozen baseline over all events."""
    baseline_recent: Mapping[str, float]
    """The same over the recent window."""
    worst_case_accuracy: float
    """The lowest accuracy that the full recent window ever had; NaN before."""
    continual: Mapping[str, float]
    """Continual evaluation on held-out events of each class."""
    curve_metric: str | None
    """The metric of the points; None if there are none yet."""
    curve: tuple[CurvePoint, ...]
    """The points, oldest first."""
    drift_scores: Mapping[tuple[str, str], float]
    """By detector and signal, the ratio of its statistic to its threshold: an alarm at 1 and above."""
    alarms: tuple[Alarm, ...]
    """The latest drift alarms, oldest first; the last may be active."""
    classes: tuple[str, ...]
    """The classes seen, in the order of their first events."""
    replaced_at: int = 0
    """Events seen when the model was last rolled back or begun anew. Figures over all events include those that states
    before that answered; the recent window begins here. 0: never."""
    replaced: str = ""
    """What happened then: `rolled back to version 17`, `begun anew`; empty: nothing yet."""
    before_replaced: float | None = None
    """The task's main metric before that; None: not known."""
    unlabelled_events: int = 0
    """Events since the last one whose prediction was graded: all figures of quality are as of that one."""
    unanswered: int = 0
    """Labelled events that got no answer because the model had learned too little to have one. They are in no figure,
    of the model or of a control."""
    left_out: int = 0
    """Events that figures over all events leave out, because they are of another order of magnitude (`orders.py`)."""
    recent_events: int = 0
    """Graded events in the recent window."""
    controls: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: MappingProxyType({}))
    """By naive control, its figures over all events."""
    controls_recent: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: MappingProxyType({}))
    """The same over the recent window."""
    quality_floor: float | None = None
    """The worst acceptable value of the task's main metric; None: any."""
    floor_breached: bool | None = None
    """Whether the recent value is worse; None: there is no floor, or too few events were graded."""
    levels: Mapping[int, float] = field(default_factory=lambda: MappingProxyType({}))
    """By alarm number, the task's main metric before the drift, where it is known."""
    recovery: Recovery | None = None
    """The level before the last drift, and now; None without a drift."""

    @property
    def metrics(self) -> dict[str, float]:
        """The figures over all events, without bounds."""
        return {name: figure for name, (figure, _) in self.figures.items()}

    @property
    def recent(self) -> dict[str, float]:
        """The figures over the recent window, without bounds."""
        return {name: figure for name, (figure, _) in self.recent_figures.items()}

    @property
    def recent_bounds(self) -> dict[str, Bound]:
        """The 95 % confidence intervals over the recent window, where they are known."""
        return {name: bound for name, (_, bound) in self.recent_figures.items() if bound is not None}

    @property
    def open_alarm(self) -> Alarm | None:
        """The active alarm, if any."""
        return self.alarms[-1] if self.alarms and self.alarms[-1].end is None else None

    def points_since(self, events: int) -> tuple[CurvePoint, ...]:
        """The points of the curve after an earlier report, made after this many events."""
        return tuple(point for point in self.curve if point.events > events)
