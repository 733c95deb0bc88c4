"""Features of a memory of errors for one user and one item: sums over their own latest entries.

Besides the neighbours in the network's space, the entries of the same user and of the same item are the most
informative. They are found by id: one pass over a column of ids, exact, without an index.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.vectors.slots import Seqs
from thalweg.memory.vectors.window import Window
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
FIGURES = 8
"""Features per view: mean error, mean label above the average, slope, of the few latest entries mean error, slope, and
whether the preference has flipped, and how little is known."""
CONSTANTS = (0, 1, 3, 6)
"""Those that do not depend on the base score: for a user's events at one time they are the same."""

_FEW = 6  # latest entries that indicate a change
_TURN_ODDS = 2.0  # prior log-odds against a flip
_NARROW = 1e-3  # base scores are clipped to this distance from 0 and 1
_SIEVE = 1 << 16


def logit(scores: Array) -> Floats:
    """ln(p / (1 - p)), p clipped to 0.001 … 0.999."""
    held = np.clip(scores, _NARROW, 1.0 - _NARROW, dtype=np.float64)
    found: Floats = np.log(held / (1.0 - held))
    return found


def entries_of(window: Window, column: str, ids: NDArray[np.int64], latest: int) -> tuple[NDArray[np.int64], Seqs]:
    """The latest entries whose `column` is one of `ids`, distinct and ascending.

    Returns:
        Indices into `ids` (m,), ascending, and entries (m,), oldest first per id.
    """
    where, entries = [], []
    for first, part in window.segments():
        tags = window.column(column, part)
        if len(ids) == 1:
            hits = np.flatnonzero(tags == ids[0])
            places = np.zeros(len(hits), dtype=np.int64)
        else:
            sieve = np.zeros(_SIEVE, dtype=np.bool_)
            sieve[ids & (_SIEVE - 1)] = True
            hits = np.flatnonzero(sieve[tags & (_SIEVE - 1)])
            tags = tags[hits]
            places = np.minimum(np.searchsorted(ids, tags), len(ids) - 1)
            real = ids[places] == tags
            hits, places = hits[real], places[real]
        where.append(places)
        entries.append(hits + first)
    if not where:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    places, seqs = np.concatenate(where), np.concatenate(entries)
    alive = window.standing(seqs)
    places, seqs = places[alive], seqs[alive]
    order = np.argsort(places, kind="stable")
    places, seqs = places[order], seqs[order]
    ends = np.searchsorted(places, np.arange(len(ids)), side="right")
    near = ends[places] - np.arange(len(places)) <= latest
    return places[near], seqs[near]


class Entries(NamedTuple):
    """The latest entries of some ids, oldest first per id, copied from a ring."""

    places: NDArray[np.int64]
    """(m,) indices of the ids, ascending."""
    seqs: Seqs
    labels: Floats
    """(m,)."""
    bases: Floats
    evidence: Floats | None
    """(m,), see `turns`; None without hypotheses of a turn."""
    turned: Floats | None
    """(m,) probability that the label was turned, likewise."""

    def unturned(self, since: int) -> Entries:
        """With the labels that are expected had nothing turned, of entries from this number on."""
        assert self.turned is not None
        turned = np.where(self.seqs >= since, self.turned, 0.0)
        return self._replace(labels=self.labels + turned * (1.0 - 2.0 * self.labels))


def read_entries(window: Window, column: str, ids: NDArray[np.int64], latest: int, turns: bool) -> Entries:
    """The latest entries whose `column` is one of `ids`, distinct and ascending."""
    places, seqs = entries_of(window, column, ids, latest)
    labels, bases = window.take("label", seqs).astype(np.float64), window.take("base", seqs)
    names = ("evidence", "turned") if turns else ()
    columns = [labels, bases, *(window.take(name, seqs).astype(np.float64) for name in names)]
    whole = window.standing(seqs)  # after the values were read
    labels, bases, *more = (column[whole] for column in columns)
    evidence, turned = more if turns else (None, None)
    return Entries(places[whole], seqs[whole], labels, bases, evidence, turned)


def view(entries: Entries, inverse: NDArray[np.int64], steep: Floats, prior: float, mean_label: float) -> Floats:
    """Features (N, 8) of each id from its latest entries.

    With y the labels, b the base scores and z their logits: mean error Σ(y - b)/(n + prior); mean label
    Σ(y - mean)/(n + prior); slope Σ(y - b)·z / (Σ z²/4 + 0.4 prior), one Newton step of a logistic regression, times
    the current logit. Of the latest six with a prior of 1: mean error and slope again, and the current logit times the
    probability that the preference has flipped, whose log-odds are -2 - Σ(2 y - 1)·z. And 1/(n + 1), alone and times
    the current logit: new users and items differ from others, and the network knows them less than it claims.

    Args:
        entries: Of distinct ids.
        inverse: (N,) which of the ids each row has.
        steep: (N,) the current logits.
        prior: Pseudo-entries without error.
        mean_label: The average.
    """
    ids = int(inverse.max()) + 1
    places, labels, bases = entries.places, entries.labels, entries.bases
    last = np.searchsorted(places, places, side="right") - np.arange(len(places)) <= _FEW
    every = _sums(places, ids, labels, bases, mean_label)
    few = _sums(places[last], ids, labels[last], bases[last], mean_label)
    count = every.events + prior
    figures = np.stack(
        [
            every.error / count,
            every.above / count,
            every.steep_error / (0.25 * every.steepness + 0.4 * prior),
            few.error / (few.events + 1.0),
            few.steep_error / (0.25 * few.steepness + 0.4),
            1.0 / (1.0 + np.exp(np.clip(few.agreement + _TURN_ODDS, -30.0, 30.0))),
            1.0 / (every.events + 1.0),
            1.0 / (every.events + 1.0),
        ],
        axis=1,
    )[inverse]
    figures[:, [2, 4, 5, 7]] *= steep[:, None]
    found: Floats = figures
    return found


class _Sums(NamedTuple):
    """Over the entries of each id, (n,)."""

    events: Floats
    error: Floats
    above: Floats
    steep_error: Floats
    steepness: Floats
    agreement: Floats


def _sums(places: NDArray[np.int64], ids: int, labels: Floats, bases: Floats, mean_label: float) -> _Sums:
    """Sums over the entries; added in order per id, so that none depends on the other ids."""
    error, steep = labels - bases, logit(bases)
    columns = (np.ones(len(places)), error, labels - mean_label, error * steep, steep * steep, (2 * labels - 1) * steep)
    return _Sums(*(np.bincount(places, weights=column, minlength=ids).astype(np.float64) for column in columns))
