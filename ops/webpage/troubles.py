"""Problems of a model as short texts: the page lists models by their most severe problem."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thalweg.proto.bounds.counted import counted
from thalweg.stream.health.registry import Condition

SILENT_SECONDS = 5.0
"""A learner reports its status about once a second; after this long without a report it counts as not responding."""
_LONG_WAIT_SECONDS = 60.0
_LAG_SECONDS, _LONG_LAG_SECONDS = 10.0, 60.0
_LEAST_WITHOUT_LABELS = 1000  # events: labels of some streams come in batches
_LEAST_DELAY_SECONDS, _UNKNOWN_DELAY_SECONDS = 60.0, 3600.0  # of late labels: at least, and where none was joined yet
_LEAST_AGAINST_CONTROLS = 100  # graded events: a model needs some before it can beat anything
CONTROLS = {
    "majority": "the majority class",
    "mean": "the mean of the labels",
    "repeat_last_label": "the label before",
    "event_rate": "the rate of events",
}
"""Naive controls in words."""
_WORSE_SHARE = 0.05  # of the baseline's value, where there is no confidence interval
_ROUNDING = 1e-9  # of the error budget: all of it may be spent
LEVELS = ("bad", "watch", "note")
"""Most severe first; a model with neither of the first two is `well`."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One problem that an operator should know about."""

    level: str
    """`bad`: act now. `watch`: investigate. `note`: information."""
    code: str
    """A stable code, for programs."""
    text: str
    """For people; without times of day, which depend on the reader's time zone."""

    def record(self) -> dict[str, str]:
        """As JSON has it."""
        return {"level": self.level, "code": self.code, "text": self.text}


def troubles(figures: Mapping[str, Any]) -> list[Trouble]:
    """The problems in a model's `summary`, most severe first."""
    found = [
        *_health(figures),
        *_serving(figures),
        *_learning(figures),
        *_drift(figures),
        *_labels(figures),
        *_quality(figures),
        *_level(figures),
        *_freshness(figures),
        *_kept(figures),
    ]
    return sorted(found, key=lambda one: LEVELS.index(one.level))


def level_of(found: list[Trouble]) -> str:
    """`bad`, `watch` or `well`."""
    return next((level for level in LEVELS[:2] if any(one.level == level for one in found)), "well")


def _serving(figures: Mapping[str, Any]) -> list[Trouble]:
    if figures["ready"]:
        return []
    new = figures["state_version"] is not None and not figures["events"]  # it waits for its first event
    return [Trouble("watch" if new else "bad", "not_ready", f"not ready: {figures['not_ready']}")]


def _health(figures: Mapping[str, Any]) -> list[Trouble]:
    """Parts that do not work as they should, the learner first: what stops a model is told before what follows."""
    found, told = [], set[str]()
    for one in sorted(figures["components"], key=lambda one: one["component"] != "learner"):
        state = Condition(one["state"])
        if state in (Condition.FAILED, Condition.DEGRADED, Condition.WAITING) and one["reason"] not in told:
            told.add(one["reason"])  # of a process that is gone, not each of its parts
            waited = figures["now"] - one["since"]
            bad = state is Condition.FAILED or one["component"] == "predictor"  # callers get no answer
            bad = bad or (state is Condition.WAITING and waited > _LONG_WAIT_SECONDS)
            text = f"{one['component'].replace('_', ' ')} {state.value}: {one['reason']}"
            found.append(Trouble("bad" if bad else "watch", f"{one['component']}_{state.value}", text))
    return found


def _learning(figures: Mapping[str, Any]) -> list[Trouble]:
    if figures["told_at"] is None:
        return [Trouble("watch", "untold", "no status from the learner yet")]
    if figures["silent_since"] is not None:
        return [Trouble("bad", "silent", "learner not responding; predictions come from the last version")]
    found = []
    lag, rate, seconds = figures["lag_records"] or 0, figures["events_per_second"] or 0.0, figures["lag_seconds"]
    stale = math.inf if figures["staleness_seconds"] is None else figures["staleness_seconds"]
    behind = min(stale, seconds or 0.0)  # one record of a slow stream is a long lag at its rate
    if behind >= _LAG_SECONDS:
        level = "bad" if behind >= _LONG_LAG_SECONDS else "watch"
        found.append(Trouble(level, "lag", f"lag of {counted(lag, 'record')}, {seconds:,.0f} s at the current rate"))
    elif lag and not rate and stale >= _LAG_SECONDS:
        found.append(Trouble("watch", "stalled", f"stalled: {counted(lag, 'record')} waiting, none processed"))
    if not figures["events"]:
        found.append(Trouble("note", "no_events", "no events yet"))
    return found


def _drift(figures: Mapping[str, Any]) -> list[Trouble]:
    alarm = figures["open_alarm"]
    if alarm is None:
        return []
    if alarm["kind"] == "inputs":
        return [Trouble("watch", "drift", f"input drift since event {alarm['since']:,}")]
    return [Trouble("bad", "drift", f"concept drift since event {alarm['since']:,}")]


def _labels(figures: Mapping[str, Any]) -> list[Trouble]:
    """Labels that no longer come: nothing is learned, and every figure of quality stands still."""
    quality, missing = figures["quality"], figures["unlabelled_events"]
    if not figures["needs_labels"] or quality is None or quality["now"] is None:
        return []
    if missing <= max(_LEAST_WITHOUT_LABELS, quality["graded"] or 0):
        return []
    if figures["joined_at"] is not None:  # late labels: events without one are usual until theirs comes
        delay = figures["label_delay_seconds"]
        patience = _UNKNOWN_DELAY_SECONDS if delay is None else max(_LEAST_DELAY_SECONDS, 2 * delay)
        if figures["now"] - figures["joined_at"] <= patience:
            return []
    name = _metric_name(quality["metric"])
    text = f"no labels: the newest {missing:,} events came without one; {name} is that of event"
    return [Trouble("watch", "no_labels", f"{text} {figures['events'] - missing:,}")]


def _quality(figures: Mapping[str, Any]) -> list[Trouble]:
    quality, replaced = figures["quality"], figures["replaced"]
    if quality is None or quality["now"] is None:
        if not figures["events"]:
            return []
        if replaced:
            text = f"{replaced['how']} at event {replaced['at']:,}, no labels since: quality unknown"
            return [Trouble("watch", "unlabelled", text)]
        return [Trouble("note", "unlabelled", "no labels received: quality unknown, only the inputs are monitored")]
    found = []
    if quality["floor_breached"]:
        now, floor = _named(quality["metric"], quality["now"]), _value(quality["metric"], quality["floor"])
        found.append(Trouble("bad", "floor", f"worse than the quality floor: {now}, the floor is {floor}"))
    if _worse(quality, quality["frozen"]):
        found.append(Trouble("watch", "worse_than_frozen", "worse than the frozen baseline"))
    return [*found, *_against_controls(quality)]


def _worse(quality: Mapping[str, Any], other: float | None) -> bool:
    """Whether recent quality is worse than this value, beyond its confidence interval."""
    if other is None:
        return False
    sign = 1 if quality["higher_is_better"] else -1
    best = quality["high"] if sign > 0 else quality["low"]
    margin = abs(best - quality["now"]) if best is not None else _WORSE_SHARE * abs(other)
    return bool(sign * (other - quality["now"]) > margin)


def _against_controls(quality: Mapping[str, Any]) -> list[Trouble]:
    """A model that does not beat a prediction without inputs has learned nothing from them."""
    if (quality["graded"] or 0) < _LEAST_AGAINST_CONTROLS:
        return []
    sign = 1 if quality["higher_is_better"] else -1
    found = []
    for name, value in quality["controls"].items():
        if sign * (quality["now"] - value) <= 0:
            level = "note" if name == "repeat_last_label" else "watch"  # where labels come in runs, that one is strong
            now, control = _named(quality["metric"], quality["now"]), _value(quality["metric"], value)
            text = f"no better than {CONTROLS.get(name, name)}: {now} against {control}"
            found.append(Trouble(level, f"no_better_than_{name}", text))
    return found


def _level(figures: Mapping[str, Any]) -> list[Trouble]:
    """The level before the last drift, or before a rollback, against the level now."""
    found, recovery, replaced, quality = [], figures["recovery"], figures["replaced"], figures["quality"]
    if recovery and recovery.get("recovered") is False:
        now, before = _named(recovery["metric"], recovery["now"]), _value(recovery["metric"], recovery["before"])
        text = f"not recovered: {now}, was {before} before event {recovery['since']:,}"
        found.append(Trouble("watch", "not_recovered", text))
    if replaced and quality and quality["now"] is not None:
        now = _named(quality["metric"], quality["now"])
        text = f"{replaced['how']} at event {replaced['at']:,}: {now} since"
        level, before = "note", replaced.get("before")
        if before is not None:
            text += f", {_value(quality['metric'], before)} before"
            level = "watch" if _worse(quality, before) else "note"
        found.append(Trouble(level, "replaced", text))
    return found


def _freshness(figures: Mapping[str, Any]) -> list[Trouble]:
    """More records were late than promised; told only while records come, as an idle model misses nothing."""
    left = figures["freshness_budget_remaining"]
    idle = not figures["events_per_second"] and not figures["lag_records"]
    if left is None or left >= -_ROUNDING or idle:
        return []
    spent, days = math.ceil(100 * (1 - left - _ROUNDING)), counted(figures["freshness_window_days"], "day")
    text = f"too many late records: {spent:,} % of the freshness error budget of {days} is spent"
    return [Trouble("watch", "freshness_budget", text)]


def _named(metric: str, value: float) -> str:
    """A value after its metric's name: `accuracy 62.0 %`, `RMSE 0.412`."""
    return f"{_metric_name(metric)} {_value(metric, value)}"


def _metric_name(metric: str) -> str:
    return {"auc": "AUC", "gauc": "gAUC", "rmse": "RMSE", "mae": "MAE"}.get(metric, metric.replace("_", " "))


def _value(metric: str, value: float) -> str:
    return f"{100 * value:.1f} %" if metric.endswith("accuracy") else f"{value:.3g}"


def _kept(figures: Mapping[str, Any]) -> list[Trouble]:
    found = []
    if figures["snapshot_failures"]:
        count = figures["snapshot_failures"]
        found.append(Trouble("watch", "snapshots", f"{count:,} failed snapshot{'s' * (count != 1)}"))
    letters = sum(figures["dead_letters"].values())
    if letters:
        found.append(Trouble("note", "dead_letters", f"{letters:,} dead letter{'s' * (letters != 1)}"))
    return found
