"""What is wrong with a model, in words: the page shows it first, and puts models in trouble on top."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SILENT_SECONDS = 5.0
"""A learner tells of itself about once a second; after this long without it is silent."""
_LAG_SECONDS, _LONG_LAG_SECONDS = 10.0, 60.0
_WORSE_SHARE = 0.05  # of the frozen twin's figure, where no bounds are told
LEVELS = ("bad", "watch", "note")
"""Worst first; a model without any of the first two is well."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that an operator should know."""

    level: str
    """`bad`: act. `watch`: look. `note`: good to know."""
    code: str
    """One of a few words, for programs."""
    text: str
    """For people; without clock times, which depend on where one sits."""

    def record(self) -> dict[str, str]:
        """As JSON has it."""
        return {"level": self.level, "code": self.code, "text": self.text}


def troubles(figures: Mapping[str, Any]) -> list[Trouble]:
    """Of a model's figures (`page_figures.summary`), worst first."""
    found = [*_serving(figures), *_learning(figures), *_drift(figures), *_quality(figures), *_kept(figures)]
    return sorted(found, key=lambda one: LEVELS.index(one.level))


def level_of(found: list[Trouble]) -> str:
    """`bad`, `watch` or `well`."""
    return next((level for level in LEVELS[:2] if any(one.level == level for one in found)), "well")


def _serving(figures: Mapping[str, Any]) -> list[Trouble]:
    if figures["ready"]:
        return []
    return [Trouble("bad", "not_ready", "cannot answer: no version is published yet")]


def _learning(figures: Mapping[str, Any]) -> list[Trouble]:
    if figures["told_at"] is None:
        return [Trouble("watch", "untold", "its learner has not told of itself yet")]
    if figures["silent_since"] is not None:
        return [Trouble("bad", "silent", "its learner is silent; answers come from the last version")]
    found = []
    lag, rate, seconds = figures["lag_records"] or 0, figures["events_per_second"] or 0.0, figures["lag_seconds"]
    stale = math.inf if figures["staleness_seconds"] is None else figures["staleness_seconds"]
    behind = min(stale, seconds or 0.0)  # of a slow stream one record is long at its rate, and yet taken at once
    if behind >= _LAG_SECONDS:
        level = "bad" if behind >= _LONG_LAG_SECONDS else "watch"
        found.append(Trouble(level, "lag", f"{lag:,} records behind, {seconds:,.0f} s at the present rate"))
    elif lag and not rate and stale >= _LAG_SECONDS:
        found.append(Trouble("watch", "stalled", f"{lag:,} records wait and none is taken"))
    if not figures["events"]:
        found.append(Trouble("note", "no_events", "no event has come yet"))
    return found


def _drift(figures: Mapping[str, Any]) -> list[Trouble]:
    alarm = figures["open_alarm"]
    if alarm is None:
        return []
    if alarm["kind"] == "inputs":
        return [Trouble("watch", "drift", f"inputs have moved since event {alarm['since']:,}")]
    return [Trouble("bad", "drift", f"answers are worse since event {alarm['since']:,}")]


def _quality(figures: Mapping[str, Any]) -> list[Trouble]:
    quality = figures["quality"]
    if quality is None or quality["now"] is None:
        if not figures["events"]:
            return []
        return [Trouble("note", "unlabelled", "no label has come: quality unknown, watched by its inputs")]
    now, frozen = quality["now"], quality["frozen"]
    if frozen is None:
        return []
    sign = 1 if quality["higher_is_better"] else -1
    best = quality["high"] if sign > 0 else quality["low"]
    margin = abs(best - now) if best is not None else _WORSE_SHARE * abs(frozen)
    if sign * (frozen - now) > margin:
        return [Trouble("watch", "worse_than_frozen", "its frozen twin answers better: learning does harm")]
    return []


def _kept(figures: Mapping[str, Any]) -> list[Trouble]:
    found = []
    if figures["snapshot_failures"]:
        count = figures["snapshot_failures"]
        found.append(Trouble("watch", "snapshots", f"{count:,} snapshot{'s' * (count != 1)} could not be written"))
    letters = sum(figures["dead_letters"].values())
    if letters:
        found.append(Trouble("note", "dead_letters", f"{letters:,} record{'s' * (letters != 1)} could not be used"))
    return found
