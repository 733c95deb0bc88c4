"""What a memory of errors says of one user and of one item: sums over their own latest entries.

Beside the neighbours in the network's space, the entries of the very user and of the very item are the ones that tell
most of the next answer. They are found by their tags: one pass over a column of ids, exact, no index to keep.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.ring import Seqs, Window
from thalweg.proto.event import Array

Floats = NDArray[np.float64]
FIGURES = 3
"""Features per view: mean error, mean label beyond the average, and slope."""

_NARROW = 1e-3  # base scores count as this far from 0 and 1 at least
_SIEVE = 1 << 16


def logit(scores: Array) -> Floats:
    """ln(p / (1 - p)), p held within 0.001 … 0.999."""
    held = np.clip(scores, _NARROW, 1.0 - _NARROW, dtype=np.float64)
    found: Floats = np.log(held / (1.0 - held))
    return found


def entries_of(window: Window, column: str, ids: NDArray[np.int64], latest: int) -> tuple[NDArray[np.int64], Seqs]:
    """The latest entries whose `column` is one of `ids`, distinct and ascending.

    Returns:
        Places in `ids` (m,), ascending, and entries (m,), oldest first under each id.
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


def view(window: Window, column: str, ids: NDArray[np.int64], latest: int, prior: float, mean_label: float) -> Floats:
    """Three figures (N, 3) for each id (N,) from its latest entries; zeros where it has none.

    Mean error Σ(y - b)/(n + prior); mean label Σ(y - mean)/(n + prior); and the slope by which its own logits should be
    steeper, Σ(y - b)·z / (Σ z²/4 + 0.4 prior) with z = logit b: one Newton step of a logistic regression, to be
    multiplied with the logit at hand. A flipped taste shows there first.
    """
    distinct, inverse = np.unique(ids, return_inverse=True)
    places, seqs = entries_of(window, column, distinct, latest)
    labels, bases = window.take("label", seqs).astype(np.float64), window.take("base", seqs)
    whole = window.standing(seqs)  # after the values were taken
    error, steep = np.where(whole, labels - bases, 0.0), np.where(whole, logit(bases), 0.0)
    above = np.where(whole, labels - mean_label, 0.0)

    def per_id(values: Array) -> Floats:
        # adds up in order under each id, so that a sum does not depend on the other ids
        return np.bincount(places, weights=values, minlength=len(distinct)).astype(np.float64)

    count = per_id(whole.astype(np.float64)) + prior
    found = np.stack(
        [
            per_id(error) / count,
            per_id(above) / count,
            per_id(error * steep) / (0.25 * per_id(steep * steep) + 0.4 * prior),
        ],
        axis=1,
    )
    figures: Floats = found[inverse]
    return figures
