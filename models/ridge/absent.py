"""Classes that no longer come are still known: what is asked now, and what was learned of classes not asked now.

The mixture of decays believes the head that forgot a class, because that head is not asked about it. So while some
class is away, a second head is solved, of all that is known: from cross-moments at the classes' own clocks, and from
the Gram, which is the scatter within classes plus that of their means, Σ q qᵀ / n. The second part follows the
classes' clocks exactly, the first is scaled with the weight of the events.

A row for which that head prefers a class that is away is answered by it, any other by the head of the present. Of two
classes that came at the same time, the one that still comes must be beaten by a threshold (`pairs.py`). It balances two
errors: a class that is away is not recognised (from the sums: leads are normal around the score of the class mean), and
one of the latest events would be taken for a class that is away (they are asked again).

A class of one event in five hundred makes pauses as long as others that no longer come, and it still comes. While a gap
is not longer than chance makes it, it counts as often as it came: its likelihood is weighed by its share of all events,
and it is not answered while more events were taken for one of such wrongly than rightly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from thalweg.models.ridge.clocks import ClassClocks
from thalweg.models.ridge.heads.discriminant import Likelihoods, likelihoods
from thalweg.models.ridge.pairs import Pairs
from thalweg.models.ridge.predictor import Known, leads, patterns
from thalweg.models.ridge.statistics import Statistics
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
THRESHOLDS: Floats = np.append(np.linspace(-5.0, 35.0, 81), np.inf)
"""Leads of a class that is away above which it is believed; the last: never."""
PRICE = 2.0
"""One of the latest events taken wrongly weighs as much as this many when classes away are asked for as often."""
TOLERATED = 0.005
"""Thresholds that would cost more than this share of the latest events are left out."""
RECENT = 128
"""Latest events kept, to ask them again."""
FEW = 32
"""A share of fewer of them counts as of this many."""
JUDGED = 16
"""Events after which the latest are asked again."""
SPREAD = 2.0
"""Leads vary this much more than the sums say: these hold the very events, and tails are longer than normal ones."""
SHRINKAGE = 0.5
"""Of the mean variance within classes, added to that of each feature: one of few events is known that much less."""
RENEWED = 0.03
"""The head of all that is known is solved again when events have grown by this share."""


class Absent:
    """The head of all that is known, and when to believe it."""

    def __init__(self, size: int, width: int, decay: float) -> None:
        """Without events.

        Args:
            size: Features, D.
            width: Inputs, F.
            decay: λ of the common sums, < 1.
        """
        self.clocks = ClassClocks(size, decay)
        self.pairs = Pairs()
        self.head: Floats | None = None
        """(D, C'), of all that is known; None: no class is away."""
        self.intercept: Floats = np.zeros(0)
        """(C',)."""
        self.away: Mask = np.zeros(0, bool)
        """(C',): the classes that were away when it was solved."""
        self._priced: Mask = np.zeros((0, 0), bool)  # (A, P), see `Pairs.priced`
        self._recent: Floats = np.zeros((RECENT, width))  # inputs of the latest events: event i is row i % RECENT
        self._recent_codes: NDArray[np.int32] = np.zeros(RECENT, np.int32)
        self._doubts: Floats = np.zeros(0)  # (C',): log prior odds of classes that may only be making a pause
        self._pauses: NDArray[np.int64] = np.zeros(2, np.int64)  # events taken for one of those, rightly and wrongly
        self._missed: Floats = np.zeros(len(THRESHOLDS))  # error by the sums, at each threshold
        self._mistaken: Floats = np.zeros(len(THRESHOLDS))  # share of the latest events, at each threshold
        self._solved = 0  # events at the last solve
        self._judged = 0  # events when the latest were last asked again

    def grow(self, columns: int) -> None:
        """Add classes up to `columns`."""
        self.clocks.grow(columns)
        self.pairs.grow(columns)

    def add(self, inputs: Array, features: Floats, codes: NDArray[np.int32], common: Statistics) -> None:
        """Count n events with inputs (n, F) and features (n, D), before they are added to the common sums."""
        n, start = len(codes), self.clocks.events
        first = start % RECENT
        if n == 1:  # as below
            self._recent[first], self._recent_codes[first] = inputs[0], codes[0]
        elif first + n <= RECENT:
            self._recent[first : first + n], self._recent_codes[first : first + n] = inputs, codes
        else:
            latest = np.arange(max(0, n - RECENT), n)
            places = (start + latest) % RECENT
            self._recent[places], self._recent_codes[places] = inputs[latest], codes[latest]
        if self.head is not None:
            scores = self._scores(features)
            self.pairs.take(codes, scores.argmax(axis=1), self.away)
            self._count_pauses(scores, codes)
        self.pairs.add(codes)
        self.clocks.add(codes, common)

    def _count_pauses(self, scores: Floats, codes: NDArray[np.int32]) -> None:
        """Count how often events of such scores (n, C') are taken for classes that may only be making a pause."""
        if (pausing := self._doubts < 0.0).any():
            taken = (scores + self._doubts).argmax(axis=1)
            of_them = pausing[taken]
            right = int(np.count_nonzero(of_them & (taken == codes)))
            self._pauses += right, int(np.count_nonzero(of_them)) - right

    def update(
        self,
        common: Callable[[], Statistics],
        features: Callable[[Floats], Floats],
        present: Callable[[], Floats],
        constant: int | None,
        *,
        anyway: bool,
    ) -> bool:
        """Solve for the head of all that is known, and choose when to believe it, where either is due.

        Args:
            common: Gives the sums of all events.
            features: From inputs (n, F) to features (n, D) under the scale in use.
            present: Gives the head of what is asked now, (D, C).
            constant: Index of the constant feature.
            anyway: Solve whether it is due or not.

        Returns:
            Whether predictions have changed.
        """
        if self.head is None and not self.clocks.pausing():
            return False  # the usual case, and the cheapest
        events, away = self.clocks.events, self.clocks.away()
        wanted = bool(away.any() and not away.all())
        if not wanted:
            changed, self.head, self.away = self.head is not None, None, away
            return changed
        stale = events - self._solved > RENEWED * events
        solved = anyway or self.head is None or stale or not np.array_equal(away, self.away)
        if solved:
            self.away = away
            self._solve(common(), constant)
        judged = solved or events - self._judged >= JUDGED
        if judged:
            self._doubts = np.where(self.away, np.log(self.clocks.rates()), 0.0)
            self._priced = self.pairs.priced(self.away)
            self._judge(features, present())
        return judged

    def _solve(self, common: Statistics, constant: int | None) -> None:
        found = likelihoods(common, *self.clocks.own(common), constant, SHRINKAGE)
        self.head, self.intercept = found.head, found.intercept
        self._missed = _predicted_errors(found, self.away)
        self._solved = self.clocks.events

    def _scores(self, features: Floats) -> Floats:
        assert self.head is not None
        return np.asarray(features @ self.head + self.intercept)

    def _judge(self, features: Callable[[Floats], Floats], present: Floats) -> None:
        """Count how many of the latest events each threshold would take for a class that is away, of those that the
        head of the present predicts rightly.
        """
        assert self.head is not None
        codes = self._recent_codes[: min(self.clocks.events, RECENT)]
        here = np.flatnonzero(~self.away[codes])
        asked = features(self._recent[here])
        known = self._scores(asked)
        right = np.where(self.away[: present.shape[1]], -np.inf, asked @ present).argmax(axis=1) == codes[here]
        taken = (leads(known[right], patterns(self.away, self._priced))[:, None] >= THRESHOLDS).sum(axis=0)
        self._mistaken = (taken - taken[-1]) / max(len(here), FEW)  # no threshold prevents those of the last
        self._judged = self.clocks.events

    @property
    def known(self) -> Known | None:
        """What a predictor needs of it; None: nothing is answered by it."""
        if self.head is None or ((threshold := self.threshold) == np.inf and self._priced.any(axis=1).all()):
            return None
        right, wrong = self._pauses.tolist()
        doubts = self._doubts if wrong <= right + 1 else np.where(self._doubts < 0.0, -np.inf, 0.0)
        return Known(self.head, self.intercept + doubts, self.away, threshold, self._priced)

    @property
    def threshold(self) -> float:
        """The lead above which a class that is away is believed."""
        cost = self._missed + PRICE * self._mistaken
        return float(THRESHOLDS[np.argmin(np.where(self._mistaken <= TOLERATED, cost, np.inf))])

    def tensors(self) -> Mapping[str, Array]:
        """Tensors for `state()`."""
        found: dict[str, Array] = {
            **self.clocks.tensors(),
            **self.pairs.tensors(),
            "priced": self._priced,
            "away": self.away,
            "pauses": self._pauses,
            "recent": self._recent,
            "recent_codes": self._recent_codes,
            "missed": self._missed,
            "mistaken": self._mistaken,
        }
        if self.head is None:
            return found
        return {**found, "head": self.head, "intercept": self.intercept, "doubts": self._doubts}

    def meta(self) -> dict[str, int]:
        """Counters for `state()`."""
        return {"events": self.clocks.events, "solved": self._solved, "judged": self._judged}

    def restore(self, tensors: Mapping[str, Array], meta: Mapping[str, int]) -> bool:
        """Restore from `tensors()` and `meta()`; copies.

        Returns:
            False if an earlier version made them, whose head is not of this kind: `update` anyway.
        """
        self.clocks.restore(tensors, meta["events"])
        self.pairs.restore(tensors, len(tensors["clocks"][0]))
        self.away, alike = np.array(tensors["away"]), "intercept" in tensors
        self.head = np.array(tensors["head"]) if alike else None
        self.intercept = np.array(tensors["intercept"]) if alike else np.zeros(0)
        self._doubts = np.array(tensors.get("doubts", np.zeros(len(self.intercept))))
        self._pauses = np.array(tensors.get("pauses", np.zeros(2, np.int64)))
        self._priced = np.array(tensors.get("priced", np.zeros((0, 0), bool)))
        self._recent, self._recent_codes = np.array(tensors["recent"]), np.array(tensors["recent_codes"])
        self._missed, self._mistaken = np.array(tensors["missed"]), np.array(tensors["mistaken"])
        self._solved, self._judged = meta["solved"], meta["judged"]
        return alike or "head" not in tensors


def _predicted_errors(found: Likelihoods, away: Mask) -> Floats:
    """Share of wrong groups at each of THRESHOLDS, when classes away (C,) and present are asked for equally often."""
    head, means = found.head, found.means
    scores = head.T @ means + found.intercept[:, None]  # row: score of a class, column: mean of a class
    there, here = np.flatnonzero(away), np.flatnonzero(~away)
    lead_there = scores[there, there] - scores[np.ix_(here, there)].max(axis=0)
    lead_here = scores[np.ix_(there, here)].max(axis=0) - scores[here, here]
    spread = found.within.between(head)
    variance = float(np.mean(np.diag(spread)[there])) + float(np.mean(np.diag(spread)[here]))
    variance -= 2.0 * float(np.mean(spread[np.ix_(here, there)]))
    deviation = SPREAD * np.sqrt(max(variance, 1e-12))
    with np.errstate(invalid="ignore"):
        missed = ndtr((THRESHOLDS[:, None] - lead_there) / deviation).mean(axis=1)
        mistaken = 1.0 - ndtr((THRESHOLDS[:, None] - lead_here) / deviation).mean(axis=1)
    return np.asarray((missed + mistaken) / 2.0)
