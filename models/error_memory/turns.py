"""Hypotheses that a share of the items turned: since then their labels are the opposite of what is predicted.

A Bayesian filter over "nothing turned" and "here, a share ρ of the items turned", for several starts and shares; a new
start is opened every few hundred labels. What one label says of its item is its evidence e = (2y - 1)·logit(q), q the
prediction if nothing turned: agreement is above 0. Under a hypothesis an item has turned with log-odds
logit(ρ) - Σ e over its entries since the start. Hypotheses are weighed by the likelihood of all labels since, so that
few labels of each of many items tell together what those of one item cannot: that something turned, when, and how much.
The answer under the hypotheses and the plain one are mixed by how well they predicted of late; hypotheses that predict
worse than none, because the network has learned the turn itself, are given up.
Source: the change-point part is that of Adams and MacKay, "Bayesian Online Changepoint Detection" (arXiv:0710.3742),
with starts pruned as in Fearnhead and Liu (2007); the items' part is ours.
Cost per event: one exponential per hypothesis, 49 at most. State: their starts and weights; the evidence is a column of
the memory's entries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.vectors.slots import Seqs
from thalweg.models.error_memory.ctr_network import sigmoid
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]

SHARES: Floats = np.array([0.05, 0.2, 0.5])
"""ρ of each start's hypotheses."""
STARTS = 16
"""Starts kept."""
_SHARE_ODDS: Floats = np.log(SHARES / (1.0 - SHARES))
_PRIOR = 1e-5  # probability per label that something turned at it
_YOUNG = 1000  # labels during which a start is not dropped
_TRUST_ODDS = 2.2  # of the answer under the hypotheses, where both have predicted alike
_TRUST_MEMORY = 500.0  # labels after which old predictions count 1/e
_NARROW = 1e-3  # scores are clipped to this distance from 0 and 1
LARGEST_LEAD = 6.0
"""So that either is followed soon after it has become the better one."""
_GIVEN_UP = -4.6  # lead at which hypotheses are given up


@dataclass(frozen=True, slots=True)
class Turns:
    """The hypotheses, for reading; immutable."""

    starts: Seqs
    """(S,), ascending: the number of the first entry after each turn."""
    weights: Floats
    """(1 + 3 S,), their sum is 1: of "nothing turned", then of each start with each of `SHARES`."""
    trust: float
    """Weight of the answer under the hypotheses; the rest is that of the plain one."""
    since: int
    """Number of the first entry that they are about: of earlier ones they were given up."""

    def agreement(self, places: NDArray[np.int64], seqs: Seqs, evidence: Floats, ids: int) -> Floats:
        """Σ e of each id's entries since each start, (ids, S).

        Args:
            places: (m,) the id of each entry, 0 … ids - 1.
            seqs: (m,) numbers of the entries.
            evidence: (m,) of each.
            ids: How many there are.
        """
        columns = len(self.starts) + 1
        reached = np.searchsorted(self.starts, seqs, side="right")  # starts that are not later than the entry
        sums = np.bincount(places * columns + reached, weights=evidence, minlength=ids * columns)
        since: Floats = sums.astype(np.float64).reshape(ids, columns)[:, ::-1].cumsum(axis=1)[:, ::-1]
        return since[:, 1:]

    def turned(self, agreement: Floats) -> Floats:
        """Probability (N,) that an item has turned, from its agreement (N, S)."""
        found: Floats = (turned_under_each(agreement) * self.weights[1:]).sum(axis=1)
        return found

    def renumbered(self, rank: Callable[[Seqs], Seqs]) -> Turns:
        """For entries that are numbered anew, by a function of old numbers."""
        return Turns(rank(self.starts), self.weights, self.trust, int(rank(np.array([self.since]))[0]))

    def tensors(self) -> dict[str, Array]:
        """For a published version."""
        place = np.array([self.since], dtype=np.int64)
        return {"starts": self.starts, "weights": self.weights, "trust": np.array([self.trust]), "since": place}

    @classmethod
    def of(cls, tensors: Mapping[str, Array]) -> Turns | None:
        """The one of these `tensors()`; None for none."""
        if not tensors:
            return None
        return cls(tensors["starts"], tensors["weights"], float(tensors["trust"][0]), int(tensors["since"][0]))


def weighed_anew(starts: Seqs, items: NDArray[np.int64], evidence: Floats, since: int) -> tuple[Seqs, Floats]:
    """Hypotheses as a filter over all entries has them, whatever the order of labels between two starts.

    That items turn independently makes the likelihood of all labels a product over items, Π (1 - ρ + ρ e^-Σe), in which
    nothing depends on their order.

    Args:
        starts: (S,) ascending and distinct, numbers of entries.
        items: (N,) of the entries 0 … N - 1.
        evidence: (N,) of them.
        since: The number of the first entry that may have turned.

    Returns:
        The starts kept, at most STARTS, and the log-weights (1 + 3 S,).
    """
    starts = starts[starts >= since]
    names, which = np.unique(items, return_inverse=True)
    sums = np.zeros((len(starts), len(names)))  # Σ e of each item since each start
    prior = np.zeros(1 + len(SHARES) * len(starts))  # log-weights before the evidence since their start
    before = since
    for number, start in enumerate(starts.tolist()):
        sums[:number] += np.bincount(which[before:start], evidence[before:start], len(names))
        opened = min(0.5, _PRIOR * (start - before))
        known = slice(1 + len(SHARES) * number)
        total = np.logaddexp.reduce(prior[known] + _likelihood(sums[:number]))
        prior[known] += np.log1p(-opened)
        with np.errstate(divide="ignore"):  # a start at once has no weight
            prior[known.stop : known.stop + len(SHARES)] = np.log(opened / len(SHARES)) + total
        before = start
    sums += np.bincount(which[before:], evidence[before:], len(names))
    logs = prior + _likelihood(sums)
    by_start = np.logaddexp.reduce(logs[1:].reshape(-1, len(SHARES)), axis=1)
    by_start[len(items) - starts < _YOUNG] = np.inf
    kept = np.sort(np.argsort(-by_start, kind="stable")[:STARTS])
    found = np.append(logs[:1], logs[1:].reshape(-1, len(SHARES))[kept])
    return starts[kept], found - np.logaddexp.reduce(found)


def _likelihood(sums: Floats) -> Floats:
    """Log-likelihood (1 + 3 S,) of all labels under each hypothesis, against "nothing turned", by Σ e (S, items)."""
    each = np.logaddexp(np.log1p(-SHARES)[:, None], np.log(SHARES)[:, None] - sums[:, None, :]).sum(axis=2)
    found: Floats = np.append(0.0, each)
    return found


def turned_under_each(agreement: Floats) -> Floats:
    """Probability (N, 3 S) under each hypothesis that an item of this agreement (N, S) has turned."""
    odds = _SHARE_ODDS - agreement[:, :, None]
    return sigmoid(odds).reshape(len(agreement), -1)


class TurnFilter:
    """The hypotheses while labels come. One thread uses it."""

    def __init__(self) -> None:
        self._starts: Seqs = np.zeros(0, dtype=np.int64)
        self._log_weights: Floats = np.zeros(1)
        self._lead = 0.0  # log-likelihood of recent labels under the hypotheses less that of the plain answers
        self._since = 0

    def open(self, now: int, oldest: int) -> bool:
        """Add the hypotheses of a turn at this entry.

        Args:
            now: Number of the next entry.
            oldest: Number of the oldest entry still in the memory: hypotheses of earlier turns have lost evidence, and
                are given up.

        Returns:
            Whether all earlier ones were given up, because the plain answers were better.
        """
        worse = self._lead < _GIVEN_UP
        if worse:
            self.clear(now)
        since = now - (int(self._starts[-1]) if len(self._starts) else 0)
        opened = min(0.5, _PRIOR * since)
        fresh = np.full(len(SHARES), np.log(opened / len(SHARES)))
        self._starts = np.append(self._starts, now)
        self._log_weights = np.concatenate([self._log_weights + np.log1p(-opened), fresh])
        self._drop(self._starts < oldest)
        if len(self._starts) > STARTS:
            by_start = np.logaddexp.reduce(self._log_weights[1:].reshape(-1, len(SHARES)), axis=1)
            by_start[now - self._starts < _YOUNG] = np.inf
            self._drop(np.arange(len(self._starts)) == int(by_start.argmin()))
        return worse

    def _drop(self, starts: NDArray[np.bool_]) -> None:
        """Their weight goes to "nothing turned"."""
        if not starts.any():
            return
        which = np.concatenate([[True], np.repeat(starts, len(SHARES))])
        rest = self._log_weights[~which]
        self._log_weights = np.concatenate([[np.logaddexp.reduce(self._log_weights[which])], rest])
        self._starts = self._starts[~starts]

    def learn(self, agreement: Floats, items: NDArray[np.int64], evidence: Floats) -> Floats:
        """Weigh the hypotheses by labels, in order.

        Args:
            agreement: (n, S) of the events' items, before these events.
            items: (n,).
            evidence: (n,) of these events.

        Returns:
            Probability (n,) that each label was turned, given the labels up to and with it.
        """
        agreement = agreement + _earlier(items, evidence)[:, None]
        prior = turned_under_each(agreement)
        gain = np.log1p(prior * np.expm1(-evidence)[:, None])  # against "nothing turned", whose likelihood is the unit
        logs = np.empty((len(items), len(self._log_weights)))
        logs[:, 0] = self._log_weights[0]
        logs[:, 1:] = self._log_weights[1:] + gain.cumsum(axis=0)
        logs -= np.logaddexp.reduce(logs, axis=1)[:, None]
        posterior = turned_under_each(agreement + evidence[:, None])
        self._log_weights = logs[-1]
        found: Floats = (np.exp(logs[:, 1:]) * posterior).sum(axis=1)
        return found

    def compare(self, turned: Floats, plain: Floats, labels: Floats) -> None:
        """Both answers (n,) to events before their labels (n,) were known."""
        gains = _log_likelihood(turned, labels) - _log_likelihood(plain, labels)
        kept = np.exp(-np.arange(len(gains), -1, -1) / _TRUST_MEMORY)
        lead = kept[0] * self._lead + (kept[1:] * gains).sum()
        self._lead = float(lead.clip(-LARGEST_LEAD, LARGEST_LEAD))

    def reading(self) -> Turns:
        """The hypotheses as they are now."""
        trust = float(sigmoid(np.array([_TRUST_ODDS + self._lead]))[0])
        return Turns(self._starts, np.exp(self._log_weights), trust, self._since)

    def clear(self, now: int) -> None:
        """Nothing turned among entries before this number."""
        self._starts, self._log_weights = self._starts[:0], np.zeros(1)
        self._lead, self._since = 0.0, now

    def tensors(self) -> dict[str, Array]:
        """Everything, for a snapshot."""
        place = np.array([self._since], dtype=np.int64)
        lead = np.array([self._lead])
        return {"starts": self._starts, "log_weights": self._log_weights, "lead": lead, "since": place}

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Become the one whose `tensors()` these are."""
        self._starts, self._log_weights = np.array(tensors["starts"]), np.array(tensors["log_weights"])
        self._lead, self._since = float(tensors["lead"][0]), int(tensors["since"][0])


def _log_likelihood(scores: Floats, labels: Floats) -> Floats:
    held = scores.clip(_NARROW, 1.0 - _NARROW)
    found: Floats = labels * np.log(held) + (1.0 - labels) * np.log1p(-held)
    return found


def _earlier(items: NDArray[np.int64], evidence: Floats) -> Floats:
    """Σ e (n,) of the same item's earlier events."""
    so_far: dict[int, float] = {}
    found = np.empty(len(items))
    for at, (item, mine) in enumerate(zip(items.tolist(), evidence.tolist())):
        found[at] = so_far.get(item, 0.0)
        so_far[item] = found[at] + mine
    return found
