"""Ridge on the inputs alone, beside ridge with random features: which of both is learned, and answers.

Random features cost most of what learning costs, and where classes differ linearly they only add noise. So now and then
both are learned and compared, in a trial over PHASE events. Then the one that was right is learned and asked alone, for
twice as many phases each time that it wins again. Random features are what a stream begins with, and what it comes back
to when a class is new or no longer comes: their sums know classes that are away.

While random features rest, their sums stay as they are: the events of that time are missing in them. When they answer,
nothing is stored here: the sums of the inputs alone are the last rows and columns of theirs.
Cost of a trial: F² + 2 F C multiply-adds an event and decay. State: 8 (F² + 2 F C) bytes a decay, none at first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.models.parts.random_features import FeatureMap
from thalweg.models.ridge.classes import Classes
from thalweg.models.ridge.heads.mixture import Mixture
from thalweg.models.ridge.heads.refresh import Schedule
from thalweg.models.ridge.heads.solve import penalty_of, solve
from thalweg.models.ridge.params import Params
from thalweg.models.ridge.rescaled import Rescaling
from thalweg.models.ridge.statistics import Rows, Statistics
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

PHASE = 4096
"""Events after which it may change what is learned; the running scale makes a stop there, however the log is cut."""
NEVER = 1 << 62
LONGEST = 16
"""Most phases between two trials."""
SURE = 2.0
"""The inputs alone must be ahead by so many deviations of the difference to take over …"""
BACK = 1.0
"""… and random features by so many to come back."""
GONE = 500
"""A class without an event for so many events is one that no longer comes."""
SOON, USUAL = 512.0, 8192.0
"""Horizons in events of the recent share of right answers and of the usual one."""
SHARE = 1 / 16
"""A head is solved again once this share of the events that its decay keeps is new …"""
LITTLE, UNHEARD = 1e-4, 256
"""… or, with a weight below LITTLE, after so many events."""
FALL = 0.1
"""A trial begins at once when the recent share is this far below the usual one."""


class InputsAlone:
    """Sums and heads of the inputs and the constant, at the decays of the learner, and the trials."""

    def __init__(self, params: Params, features: FeatureMap, classes: Classes, *, on_gpu: bool = False) -> None:
        """Random features answer, for ever where they are not to rest; `features`: with them."""
        width = features.width
        self.map = FeatureMap(width, np.zeros((width, 0)), np.zeros(0), direct=True, bias=True)
        self.schedule = Schedule(params, self.map.size, width)
        self._params, self._first = params, features.expansion
        self._mixture = Mixture(len(params.forgetting), params.mixture_horizon_events, unit_free=False, classes=classes)
        self._members: list[Statistics] = []  # of their own, while the inputs alone answer
        self._heads: Floats | None = None  # (M, F + 1, C)
        self._solved: list[int] = []  # (M,): events at the last solve of each, -1: never
        self.answers = False
        """Whether the inputs alone answer, once there are heads."""
        self.trying = False
        """Whether both are learned."""
        self._begins = PHASE if _may_rest(params) and not on_gpu else NEVER
        self._until = self._begins  # events at which the trial begins or ends
        self._rest = 1  # phases from the next trial won to the one after it
        self._ahead = [0, 0]  # events that only random features, that only the inputs alone were right about
        self._last: NDArray[np.int64] = np.zeros(0, np.int64)  # (C,): latest event of each class
        self._level = [0.0, 0.0]  # recent and usual share of right answers
        self.rested = 0
        """Events that are missing in the sums of random features."""

    @property
    def rests(self) -> bool:
        """Whether random features are neither learned nor asked."""
        return self.answers and not self.trying

    @property
    def involved(self) -> bool:
        """Whether the inputs alone are learned."""
        return self.answers or self.trying

    def learn(self, rows: Rows, other: Floats | None, events: int) -> bool:
        """Learn n events.

        Args:
            rows: With all features (n, D), or (n, F + 1) while random features rest.
            other: The head (D, C) with random features to compare with; None: they rest.
            events: Learned before.

        Returns:
            Whether random features are wanted back: a class no longer comes, or less is right than usual.
        """
        codes, n = rows.codes, len(rows.features)
        assert codes is not None
        others: Mask | None = None
        if other is not None:
            others = (rows.features @ other).argmax(axis=1) == codes
            rows = replace(rows, features=rows.features[:, self._first :])
        if self._heads is not None:
            right: Mask = (rows.features @ self._mixture.weighted(self._heads)).argmax(axis=1) == codes
            self._mixture.score(rows, self._heads)
            if others is None:
                self._grade(float(right.mean()), n)
            elif not self.answers or events >= self._until - PHASE // 2:  # sums that rested have caught up by then
                self._ahead[0] += int(np.count_nonzero(others & ~right))
                self._ahead[1] += int(np.count_nonzero(right & ~others))
        for member in self._members:
            member.add(rows)
            member.drop_denormals(events, events + n)
        self._last[codes] = events + np.arange(n)
        if not self.rests:
            return False
        self.rested += n
        if events + n - int(self._last.min(initial=events + n)) > GONE:
            self.dismiss(events + n)
        elif self._level[1] - self._level[0] > FALL:
            self.hasten(events + n)
        return not self.rests

    def _grade(self, share: float, n: int) -> None:
        for place, horizon in enumerate((SOON, USUAL)):
            kept = (1.0 - 1.0 / horizon) ** n
            self._level[place] = kept * self._level[place] + (1.0 - kept) * share

    def may_turn(self, events: int) -> bool:
        """Whether a trial begins or ends after so many events."""
        return events >= self._until and events % PHASE == 0

    def turn(self, events: int, members: Sequence[Statistics], *, steady: bool) -> bool:
        """Begin or end a trial after so many events.

        Args:
            events: Learned.
            members: Sums with random features, of all decays, without events that wait.
            steady: No class is away, and micro-batches are not so small that heads are updated by steps.

        Returns:
            Whether random features are learned again after they rested: their heads must be solved.
        """
        if self.trying:
            self._decide(events, members, steady=steady)
            return False
        if not self.answers and not steady:
            self._until = events + PHASE
            return False
        self.trying, self._until, self._ahead = True, events + PHASE, [0, 0]
        return self.answers

    def _decide(self, events: int, members: Sequence[Statistics], *, steady: bool) -> None:
        others, mine = self._ahead
        lead, deviation = mine - others, float(np.sqrt(mine + others))
        answers = lead > SURE * deviation if not self.answers else lead > -BACK * deviation
        if not answers or not (steady or self.answers):
            self._rest = 1 if self.answers else min(2 * self._rest, LONGEST)
            self._leave(events + self._rest * PHASE)
            return
        if not self.answers:
            self._rest = 1
            self._members = [self._of(member) for member in members]
        else:
            self._rest = min(2 * self._rest, LONGEST)
        self.answers, self.trying, self._until = True, False, events + self._rest * PHASE
        self._last[:] = events
        self._level = [1.0 / max(1, self._last.size)] * 2

    def _leave(self, until: int) -> None:
        self.answers = self.trying = False
        self._until, self._members, self._heads = until, [], None

    def dismiss(self, events: int) -> None:
        """From now on random features answer, and there is no trial for a while."""
        self._rest = 1
        self._leave((events // PHASE + 2) * PHASE)

    def hasten(self, events: int) -> None:
        """Begin a trial now, if random features rest."""
        if self.rests:
            self.trying, self._rest, self._ahead = True, 1, [0, 0]
            self._until = (events // PHASE + 2) * PHASE

    def grow(self, columns: int, events: int) -> None:
        """Add classes up to `columns`; after so many events. Where the inputs alone answer, they do so no longer."""
        if self.answers:
            self.dismiss(events)
        self._last = np.pad(self._last, (0, columns - len(self._last)))
        for member in self._members:
            member.grow(columns)

    def _of(self, member: Statistics) -> Statistics:
        """The sums of the inputs alone in those with random features; a copy."""
        found = Statistics(self.map.size, member.columns, decay=member.decay)
        found.gram = member.gram[self._first :, self._first :].copy(order="F")
        found.cross = member.cross[self._first :].copy(order="F")
        found.class_weight = member.class_weight.copy()
        return found

    def solve(self, members: Sequence[Statistics], events: int, *, anyway: bool) -> None:
        """Solve for the heads for which that is due after so many events, or `anyway`; `members` as in `turn`."""
        constant, weights, sums = self.map.constant, self._mixture.weights(), self._members or members
        if anyway or self._heads is None or self._heads.shape[2] != sums[0].columns:
            self._heads, self._solved = np.zeros((len(sums), self.map.size, sums[0].columns)), [-1] * len(sums)
        for number, member in enumerate(sums):
            lasts = max(SHARE / max(1.0 - member.decay, 1e-9), UNHEARD if weights[number] < LITTLE else 0)
            if self._solved[number] >= 0 and events - self._solved[number] < lasts:
                continue
            first = 0 if self._members else self._first
            gram = member.gram[first:, first:]
            penalty = penalty_of(self._params.gamma, gram.diagonal(), constant)
            self._heads[number] = solve(gram, member.cross[first:], penalty, constant)
            self._solved[number] = events

    def head(self, columns: int) -> Floats | None:
        """W (D, C) that answers, 0 for random features; None: they answer."""
        if not self.answers or self._heads is None or self._heads.shape[2] != columns:
            return None
        own = self._mixture.weighted(self._heads)
        return np.concatenate([np.zeros((self._first, columns)), own])

    def rescale(self, rescaling: Rescaling) -> None:
        """Re-express sums of its own under a new scale; of `map`."""
        for member in self._members:
            rescaling.apply(member)

    def fade(self, share: float, events: int) -> None:
        """Multiply the weight of all events so far by this factor; a trial begins."""
        self.hasten(events)
        for member in self._members:
            member.fade(share)

    def tensors(self) -> Mapping[str, Array]:
        """Tensors for `state()`; none before the first trial."""
        if self._as_at_first:
            return {}
        found: dict[str, Array] = {"losses": self._mixture.losses, "last": self._last, "level": np.array(self._level)}
        if self._heads is not None:
            found |= {"heads": self._heads, "solved": np.array(self._solved)}
        for number, member in enumerate(self._members):
            found |= {f"{name}.{number}": array for name, array in member.tensors().items()}
        return found

    def meta(self) -> dict[str, Any] | None:
        """Counters for `state()`; None before the first trial."""
        if self._as_at_first:
            return None
        counted = {"until": self._until, "rest": self._rest, "ahead": self._ahead, "rested": self.rested}
        return {**counted, "answers": self.answers, "trying": self.trying}

    @property
    def _as_at_first(self) -> bool:
        return self._until == self._begins and not self.trying

    def restore(self, tensors: Mapping[str, Array], meta: Mapping[str, Any] | None, classes: int) -> None:
        """Restore from `tensors()` and `meta()`; copies. Without them, random features answer."""
        self._members, self._heads, self._last = [], None, np.zeros(classes, np.int64)
        if meta is None:
            self.answers, self.trying, self._until, self._rest, self.rested = False, False, self._begins, 1, 0
            self._ahead, self._level = [0, 0], [0.0, 0.0]
            self._mixture.losses = np.zeros_like(self._mixture.losses)
            return
        self.answers, self.trying = meta["answers"], meta["trying"]
        self._until, self._rest, self.rested = meta["until"], meta["rest"], meta["rested"]
        self._ahead, self._level = list(meta["ahead"]), tensors["level"].tolist()
        self._last, self._mixture.losses = np.array(tensors["last"]), np.array(tensors["losses"])
        if "heads" in tensors:
            self._heads, self._solved = np.array(tensors["heads"]), tensors["solved"].tolist()
        for number, decay in enumerate(self._params.forgetting):
            if f"gram.{number}" in tensors:
                member = Statistics(self.map.size, classes, decay=decay)
                member.restore({name: tensors[f"{name}.{number}"] for name in member.tensors()})
                self._members.append(member)


def _may_rest(p: Params) -> bool:
    """Whether there are random features that could rest.

    Sums of several decays depend on the order of events anyway; on a GPU random features cost little.
    """
    several = len(p.forgetting) > 1 and p.balance == "none" and p.task == "classification"
    plain = several and p.standardise is True and p.direct and p.bias and p.expansion > 0
    return p.rest_expansion and plain and p.solver == "auto" and p.refresh_events == "auto"
