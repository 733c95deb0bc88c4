"""The level of quality before a drift against the level now: whether a model has recovered.

A level is the main metric over half of the recent window: of its events before the drift, and of its newest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from thalweg.memory.snapshots.state import State
from thalweg.proto.task import Task
from thalweg.stream.drift.alarm import Alarm
from thalweg.stream.evaluation.curve import CurvePoint
from thalweg.stream.evaluation.figures.bounds import Bound
from thalweg.stream.evaluation.prequential import Prequential

LEAST_EVENTS = 30
"""A level of fewer graded events is not known."""
_NEGLIGIBLE = 0.02  # of the level before; a smaller loss counts as recovered, however certain it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """The level before a drift, and now."""

    alarm: int
    """The number of the drift alarm. A drift from whose loss the model never recovered stays the reference, also when
    further alarms follow.
    """
    since: int
    """The first event after the change."""
    metric: str
    before: float
    now: float | None
    """None: not known, because too few events were graded since."""
    recovered: bool | None
    """Whether `before` lies within the confidence interval of `now`, or is better by at most 2 %; None: not known."""


class Levels:
    """Keeps the level before each drift alarm; saved with the state. Not thread-safe.

    Args:
        window_events: Size of the recent window in events.
        task: Names the main metric and its direction.
    """

    def __init__(self, window_events: int, task: Task) -> None:
        self._half = max(1, window_events // 2)
        self._task = task
        self._before: dict[int, float] = {}
        self._reference: tuple[int, int, float] | None = None  # alarm, first event after the change, level before
        self._newest = 0
        self.before_replaced: float | None = None
        """The level before the state was last replaced (rolled back, reset); None: never, or not known."""

    @property
    def before(self) -> Mapping[int, float]:
        """The level before each alarm, by its number, where it is known."""
        return MappingProxyType(dict(self._before))

    @property
    def newest(self) -> int:
        """The newest alarm's number; 0 before the first."""
        return self._newest

    def raised(self, alarms: Iterable[Alarm], live: Prequential, curve: Sequence[CurvePoint]) -> None:
        """These alarms were raised, oldest first, in events that `live` has graded.

        `curve`: the main metric over time; serves where a change was found so late that the window holds no event from
        before it.
        """
        for alarm in alarms:
            self._newest = alarm.number
            found = self._level(live, alarm.since - self._half, alarm.since) or _on(curve, alarm.since)
            if found is None:
                continue
            self._before[alarm.number] = found[0]
            if self._reference is None or self._reaches(found, self._reference[2]):
                self._reference = alarm.number, alarm.since, found[0]
        for number in sorted(self._before)[:-100]:
            del self._before[number]

    def replaced(self, live: Prequential, events: int) -> None:
        """The state is about to be replaced after this many events."""
        found = self._level(live, events - self._half, events + 1)
        self.before_replaced = None if found is None else found[0]

    def recovery(self, live: Prequential, events: int) -> Recovery | None:
        """The last drift's level before, and that of the newest of `events` events; None without a drift."""
        if self._reference is None:
            return None
        alarm, since, before = self._reference
        found = self._level(live, max(since, events - self._half), events + 1)
        return Recovery(
            alarm=alarm,
            since=since,
            metric=self._task.quality,
            before=before,
            now=None if found is None else found[0],
            recovered=None if found is None else self._reaches(found, before),
        )

    def _level(self, live: Prequential, first: int, end: int) -> tuple[float, Bound | None] | None:
        figures, graded = live.figures_of_events(first, end)
        found = figures.get(self._task.quality)
        return (
            found if found is not None and math.isfinite(found[0]) and graded >= min(LEAST_EVENTS, self._half) else None
        )

    def _reaches(self, found: tuple[float, Bound | None], before: float) -> bool:
        value, bound = found
        if self._task.lower_is_better:
            return (value if bound is None else bound[0]) <= before + _NEGLIGIBLE * abs(before)
        return (value if bound is None else bound[1]) >= before - _NEGLIGIBLE * abs(before)

    def state(self) -> State:
        """The state that later levels depend on."""
        return State(
            {},
            {
                "before": [[number, level] for number, level in self._before.items()],
                "reference": None if self._reference is None else list(self._reference),
                "newest": self._newest,
                "before_replaced": self.before_replaced,
            },
        )

    def restore(self, state: State) -> None:
        """Restore from `state()`."""
        meta = state.meta
        self._before = {int(number): float(level) for number, level in meta["before"]}
        reference = meta["reference"]
        self._reference = None if reference is None else (int(reference[0]), int(reference[1]), float(reference[2]))
        self._newest, self.before_replaced = meta["newest"], meta["before_replaced"]


def _on(curve: Sequence[CurvePoint], since: int) -> tuple[float, Bound | None] | None:
    """The last point before this event."""
    before = [point.live for point in curve if point.events < since]
    return (before[-1], None) if before else None


def recovery_record(recovery: Recovery | None) -> dict[str, Any] | None:
    """As JSON has it."""
    return None if recovery is None else asdict(recovery)
