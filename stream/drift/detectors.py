"""Drift detectors, each on one signal.

Detectors do not expose their state. So the state here is always that of a new detector fed with the values
since the last reset, which are stored up to a limit: a snapshot contains plain numbers, and a restart is exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.stream.drift.methods.river import Detector, make
from thalweg.stream.drift.usual import CHECKED, LARGEST, PAST_VALUES, is_usual

Floats = NDArray[np.float64]

_MOST_VALUES = 8192  # values stored per signal; beyond that it restarts from the newest quarter
_AT_ONCE = 256  # values; those after a change are fed again
_SCALED_BY = 100  # values that determine the usual range of an unbounded signal
_ABSURD = 1000.0  # times the usual distance from the median: such values are no part of the usual range
_LEAST_SIDE = 8  # values on either side of a change


@dataclass(frozen=True, slots=True)
class Scale:
    """The usual range of an unbounded signal."""

    center: float
    spread: float

    def of(self, values: Floats) -> Floats:
        """Values (N,) within [0, 1]: the logistic function of their distance from the center, in spreads."""
        with np.errstate(over="ignore"):
            far = np.clip((values - self.center) / max(self.spread, 1e-12), -50.0, 50.0)
        return 1.0 / (1.0 + np.exp(-far))


@dataclass(frozen=True, slots=True)
class Fired:
    """A detector found a change of a signal."""

    detector: str
    at: int
    """Number of the event at which it was detected."""
    since: int
    """Number of the estimated first event after the change."""
    before: float
    """Mean of the signal before the change, within [0, 1], more is worse …"""
    after: float
    """… and since."""
    scale: Scale | None
    """How values were scaled to [0, 1]; None where they are within it."""
    usual: bool = False
    """The signal was as bad for as long at least three separate times before: no news."""
    over: int = 0
    """Number of values that `before` is the mean of."""
    beside: float = float("nan")
    """Mean before the change of the signal fed beside it, scaled alike; NaN if none was."""


class SignalWatch:
    """Watches one signal, such as the loss, with several detectors.

    After each change all detectors restart with the values since then.

    Args:
        detectors: Names from `DETECTORS`.
        bounded: Values are within [0, 1]; others are scaled to it: x becomes the logistic function of its distance
            from the median of the first hundred, in units of their mean absolute deviation without absurd ones.
        patience: Threshold of Page-Hinkley on the sum of the excess over the mean, less 0.02 each.
        worse: 1 where a higher value is worse, -1 where a lower one is: an improvement is not drift.
    """

    def __init__(self, detectors: Sequence[str], *, bounded: bool, worse: int = 1, patience: float = 25.0) -> None:
        self._patience = patience
        self._names = tuple(detectors)
        self._bounded = bounded
        self._worse = worse
        self._values: Floats = np.zeros(0)
        self._at: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._beside: Floats = np.zeros(0)  # of another signal, at the same events
        self._past: NDArray[np.float32] = np.zeros(0, dtype=np.float32)  # values before those, the newest last
        self._fed = 0
        self._doubtful: Fired | None = None  # was usual when it was found; judged again the longer it lasts
        self._detectors: dict[str, Detector] = {name: make(name, self._patience) for name in self._names}

    @property
    def values(self) -> int:
        """Number of values the detectors have seen since their last reset."""
        return self._fed

    def feed(self, values: Floats, at: NDArray[np.int64], beside: Floats | None = None) -> list[Fired]:
        """Feed values (N,) of the events with these numbers (N,); returns changes for the worse, in order.

        `beside`: another signal of the same events, to compare the level before a change with.
        """
        other = np.full(len(values), np.nan) if beside is None else beside
        known = np.isfinite(values)
        if not known.all():
            values, at, other = values[known], at[known], other[known]
        found = []
        while len(values):
            room = _MOST_VALUES - len(self._values)
            if room <= 0:
                self._begin_anew(_MOST_VALUES - _MOST_VALUES // 4)
                room = _MOST_VALUES - len(self._values)
            room = min(room, _AT_ONCE)
            if self._doubtful is not None:
                room = min(room, next(n for n in CHECKED if n > len(self._values)) - len(self._values))
            self._values = np.concatenate([self._values, values[:room]])
            self._at = np.concatenate([self._at, at[:room]])
            self._beside = np.concatenate([self._beside, other[:room]])
            fired = self._advance()
            if fired is None:
                found += self._judge_again()
                values, at, other = values[room:], at[room:], other[room:]
                continue
            place, detector = fired
            values = np.concatenate([self._values[place + 1 :], values[room:]])
            at = np.concatenate([self._at[place + 1 :], at[room:]])
            other = np.concatenate([self._beside[place + 1 :], other[room:]])
            self._values, self._at = self._values[: place + 1], self._at[: place + 1]
            self._beside = self._beside[: place + 1]
            one = self._locate(detector)
            if one.after > one.before:
                found.append(one)
            judged = one.after > one.before and one.usual and len(self._values) < CHECKED[-1]
            self._doubtful = one if judged else None
        return found

    def scores(self) -> dict[str, float]:
        """Score by detector, relative to the alarm threshold: 1 and above is a change."""
        scores = {name: detector.score() for name, detector in self._detectors.items()}
        if "adwin" in scores:
            scores["adwin"] = self._adwin_score()
        return scores

    def tensors(self) -> dict[str, NDArray[Any]]:
        """For a snapshot."""
        return {
            "values": self._values,
            "at": self._at,
            "beside": self._beside,
            "past": self._past,
            "doubtful": self._doubts(),
        }

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Become the watch whose `tensors()` these are."""
        self._values, self._at = tensors["values"].astype(np.float64), tensors["at"].astype(np.int64)
        self._past = tensors.get("past", self._past[:0]).astype(np.float32)  # an older state has none
        self._beside = tensors.get("beside", np.full(len(self._values), np.nan)).astype(np.float64)
        self._doubtful = self._doubted(tensors.get("doubtful", np.zeros(0)))
        self._rebuild()

    def _doubts(self) -> Floats:
        one = self._doubtful
        if one is None:
            return np.zeros(0)
        scale = (0.0, -1.0) if one.scale is None else (one.scale.center, one.scale.spread)
        level = (one.before, one.after, *scale, one.beside, one.over)
        return np.array([self._names.index(one.detector), one.at, one.since, *level])

    def _doubted(self, held: Floats) -> Fired | None:
        if not len(held):
            return None
        number, at, since, before, after, center, spread, beside = held[:8].tolist()
        over = int(held[8]) if len(held) > 8 else len(self._past)  # an older state has no more
        scale = Scale(center, spread) if spread >= 0.0 else None
        return Fired(self._names[int(number)], int(at), int(since), before, after, scale, True, over, beside)

    def _advance(self) -> tuple[int, str] | None:
        """Feed the detectors the new values; returns the first change and its detector."""
        if not self._bounded and len(self._values) < _SCALED_BY:
            return None
        fresh = self._scaled(self._values[self._fed :])
        places = {name: one.first(fresh, self._fed) for name, one in self._detectors.items()}
        earlier = self._fed
        self._fed = len(self._values)
        soonest = 0 if self._bounded else _SCALED_BY - 1  # before that, scaling is unknown
        hits = [(max(earlier + place, soonest), name) for name, place in places.items() if place >= 0]
        return min(hits, key=lambda hit: hit[0]) if hits else None

    def _locate(self, detector: str) -> Fired:
        """Locate the change in the values, by the largest CUSUM; and reset from there."""
        scaled = self._scaled(self._values)
        since = change_point(scaled)
        before = float(scaled[:since].mean()) if since else float(scaled[0])
        after = float(scaled[since:].mean())
        fired = Fired(detector, int(self._at[-1]), int(self._at[since]), before, after, self._scale(), over=since)
        if after > before:  # else it is an improvement, of which nobody is told
            usual = is_usual(self._past, self._values, since, self._worse)
            fired = replace(fired, usual=usual, beside=self._level_beside(since))
        self._begin_anew(since)
        return fired

    def _judge_again(self) -> list[Fired]:
        """The deterioration that was usual at first, if nothing before was as bad for as long as it has lasted."""
        doubtful, count = self._doubtful, len(self._values)
        if doubtful is None or count not in CHECKED:
            return []
        values = self._values if doubtful.scale is None else doubtful.scale.of(self._values)
        after = float(values.mean() if self._worse > 0 else 1.0 - values.mean())
        self._doubtful = doubtful if after > doubtful.before and count < CHECKED[-1] else None
        if after <= doubtful.before or is_usual(self._past, self._values, 0, self._worse, times=1):
            return []
        self._doubtful = None
        return [replace(doubtful, at=int(self._at[-1]), after=after, usual=False)]

    def _level_beside(self, since: int) -> float:
        """Mean of the other signal before the change, scaled as this one."""
        known = self._beside[:since][np.isfinite(self._beside[:since])]
        return float(self._scaled(known).mean()) if len(known) else float("nan")

    def _begin_anew(self, first: int) -> None:
        gone = self._values[:first].clip(-LARGEST, LARGEST).astype(np.float32)
        self._past = np.concatenate([self._past, gone])[-PAST_VALUES:]
        self._values, self._at, self._beside = self._values[first:], self._at[first:], self._beside[first:]
        self._rebuild()

    def _rebuild(self) -> None:
        self._detectors = {name: make(name, self._patience) for name in self._names}
        self._fed = 0
        self._advance()

    def _scaled(self, values: Floats) -> Floats:
        """Scaled to [0, 1], such that more is worse."""
        if (scale := self._scale()) is not None:
            values = scale.of(values)
        return values if self._worse > 0 else 1.0 - values

    def _scale(self) -> Scale | None:
        if self._bounded:
            return None
        usual = self._values[:_SCALED_BY]
        center = float(np.median(usual))
        with np.errstate(over="ignore"):
            away = np.abs(usual - center)
        near = away <= _ABSURD * np.median(away[away > 0]) if away.any() else away == 0  # one of 1e99 hides all changes
        return Scale(center, float(away[near].mean()))

    def _adwin_score(self) -> float:
        """The last 64 values against those before, in units of ADWIN's bound for that cut (Bifet & Gavaldà 2007)."""
        recent, total = 64, self._fed
        if total < 2 * recent:
            return 0.0
        scaled = self._scaled(self._values)
        harmonic = 1.0 / (1.0 / recent + 1.0 / (total - recent))
        log_term = np.log(2.0 * np.log(total) / 1e-4)
        bound = np.sqrt(2.0 / harmonic * scaled.var() * log_term) + 2.0 / (3.0 * harmonic) * log_term
        return float(abs(scaled[-recent:].mean() - scaled[:-recent].mean()) / bound)


def change_point(values: Floats) -> int:
    """The index k where the mean before and the mean from k on differ most, by |difference| sqrt(k (n - k) / n)."""
    count = len(values)
    if count < 2 * _LEAST_SIDE:
        return max(0, count - 1)
    first = np.arange(_LEAST_SIDE, count - _LEAST_SIDE + 1)
    total = values.cumsum()
    before = total[first - 1] / first
    after = (total[-1] - total[first - 1]) / (count - first)
    return int(first[np.argmax(np.abs(after - before) * np.sqrt(first * (count - first) / count))])
