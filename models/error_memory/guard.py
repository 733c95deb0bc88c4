"""What the answers of a memory are held against: the network alone, the mean label of late, and the numbers alone.

A combination of twenty features is learned from few labels at first: where one view in a thousand is clicked it takes
hundreds of labels to say so, another recommender's score among the numbers is believed late, and what it has learned
may turn. So four answers are experts, weighed by the likelihood of the labels; a share of all weight is spread evenly
after each event, so that any may lead again (fixed share: Herbster and Warmuth, "Tracking the Best Expert", Machine
Learning 32, 1998). Over any T events the log loss is above that of the best of E experts by at most log(E / SHARE) +
T · SHARE, and by log E + T · SHARE from the first event on. The numbers alone are a `RecursiveLogistic` of few weights,
around the rate if that is rare: where one view in five hundred is clicked, it is as good as that from the first event
on. It reads each number as it is and bent: a probability that is spread over orders of magnitude has a long tail.
Cost per event: four logarithms, and with H numbers a solve of 2 H + 1 unknowns. State: 4 H² numbers, and a few.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thalweg.models.error_memory.ctr_network import sigmoid
from thalweg.models.error_memory.recursive_logistic import RecursiveLogistic
from thalweg.proto.schema import Array

Floats = NDArray[np.float64]

SHARE = 1e-3
"""Weight spread evenly after each event."""
_NARROW = 1e-6  # likelihoods are those of scores clipped to this distance from 0 and 1
_HALF = 0.5  # labels of each kind that a rate begins with (Krichevsky and Trofimov)
_PRIOR = 1.0  # of the weights of numbers, as curvature
_COMMON, _RARE = math.log(3.0), math.log(12.0)
"""Log-odds of rates of one in four, up to which numbers are weighed around 0, and of one in thirteen, from which on it
is the rate. A common one is soon learned; around one that moves by chance, numbers rank less well."""
_BENT = 8.0  # deviations are times this where their logarithm is taken


@dataclass(frozen=True, slots=True)
class Trust:
    """The experts and their weights, for reading; immutable."""

    weights: Floats
    """(E,), their sum is 1: of the answer with the memory, the network alone, the rate, and perhaps the numbers."""
    rate: float
    """The mean label of late."""
    numbers: Floats
    """(2 H + 1,) weights of a constant, of the numbers and of the bent ones; (0,) without numbers."""

    @property
    def rate_odds(self) -> float:
        """Log-odds that the numbers are weighed around: those of the rate where it is rare, 0 where it is common."""
        odds = math.log(self.rate / (1.0 - self.rate))
        part = (abs(odds) - _COMMON) / (_RARE - _COMMON)
        return odds if part >= 1.0 else math.copysign(_RARE * max(0.0, part), odds)

    def answers(self, own: Floats, base: Floats, features: Floats) -> Floats:
        """What each expert says, (N, E).

        Args:
            own: (N,) scores with the memory.
            base: (N,) scores of the network alone.
            features: (N, features) of the combination: a constant first, the numbers last.
        """
        found = [own, base, np.full(len(own), self.rate)]
        if len(self.numbers):
            told = (numbers_of(features, len(self.numbers) // 2) * self.numbers).sum(axis=1)
            found.append(sigmoid(told + self.rate_odds))
        return np.stack(found, axis=1)

    def mixed(self, own: Floats, base: Floats, features: Floats) -> Floats:
        """Scores (N,); arguments as of `answers`."""
        if self.weights[0] == 1.0:
            return own
        mixed: Floats = (self.answers(own, base, features) * self.weights).sum(axis=1)
        return mixed

    def tensors(self) -> dict[str, Array]:
        """For a published version."""
        return {"weights": self.weights, "rate": np.array([self.rate]), "around_rate": self.numbers}

    @classmethod
    def of(cls, tensors: Mapping[str, Array]) -> Trust:
        """The one of these `tensors()`; of none, as an earlier version published: the memory alone answers."""
        if not tensors:
            return cls(np.ones(1), _HALF, np.zeros(0))
        rate = float(tensors["rate"][0])
        if "around_rate" in tensors:
            return cls(tensors["weights"], rate, tensors["around_rate"])
        known = tensors["weights"][:3]  # the numbers of an earlier version are not weighed around the rate
        return cls(known / known.sum(), rate, np.zeros(0))


class Guard:
    """The experts while labels come. One thread uses it."""

    def __init__(self, numbers: int, memory: float) -> None:
        """Without labels: the answer with the memory stands.

        Args:
            numbers: H, of the combination.
            memory: Events after which a label counts 1/e.
        """
        self._alone = RecursiveLogistic(np.zeros(2 * numbers + 1), _PRIOR, memory) if numbers else None
        experts = 3 if self._alone is None else 4
        self._weights: Floats = np.full(experts, 1.0 / experts)
        self._counts: Floats = np.zeros(2)  # of labels 0 and 1
        self._memory = memory

    def learn(self, own: Floats, base: Floats, features: Floats, labels: Floats, importance: Floats) -> None:
        """Weigh experts by labels (n,) in 0 … 1 of which none was known when they answered.

        `importance`: (n,), weights of the events; the others as of `Trust.answers`.
        """
        if not (count := len(labels)):
            return
        before = self.reading()
        said = before.answers(own, base, features).clip(_NARROW, 1.0 - _NARROW)
        each = labels[:, None] * np.log(said) + (1.0 - labels[:, None]) * np.log1p(-said)
        gains = (importance[:, None] * each).sum(axis=0)
        weights = self._weights * np.exp(gains - gains.max())
        spread = 1.0 - (1.0 - SHARE) ** count
        self._weights = (1.0 - spread) * weights / weights.sum() + spread / len(weights)
        seen = np.array([(importance * (1.0 - labels)).sum(), (importance * labels).sum()])
        self._counts = np.exp(-count / self._memory) * self._counts + seen
        if self._alone is not None:
            told = numbers_of(features, len(self._alone.weights) // 2)
            self._alone.learn(told, labels, importance, before.rate_odds)

    def forget_numbers(self) -> None:
        """They are scaled otherwise from now on."""
        if self._alone is not None:
            self._alone.forget(len(self._alone.weights))

    def reading(self) -> Trust:
        """The experts as they are now."""
        none, some = (self._counts + _HALF).tolist()
        weights = self._weights.copy() if self._counts.any() else np.eye(len(self._weights))[0]
        alone = np.zeros(0) if self._alone is None else self._alone.weights.copy()
        return Trust(weights, some / (none + some), alone)

    def tensors(self) -> dict[str, Array]:
        """Everything, for a snapshot."""
        found = {"weights": self._weights, "counts": self._counts}
        return found if self._alone is None else found | {f"alone.{k}": v for k, v in self._alone.tensors().items()}

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Become the one whose `tensors()` these are, if there are some: an earlier version had none."""
        if tensors:
            self._weights, self._counts = np.array(tensors["weights"]), np.array(tensors["counts"])
            known = len(tensors.get("alone.weights", ()))  # an earlier version had half as many: they begin
            if self._alone is not None and known == len(self._alone.weights):
                self._alone.restore({name: tensors[f"alone.{name}"] for name in self._alone.tensors()})


def numbers_of(features: Floats, count: int) -> Floats:
    """Of the features (N, features) of a combination the constant and the `count` numbers, and those bent."""
    numbers = features[:, features.shape[1] - count :]
    bent = np.copysign(np.log1p(_BENT * np.abs(numbers)), numbers)
    found: Floats = np.concatenate([features[:, :1], numbers, bent], axis=1)
    return found


def joined(mine: Mapping[str, Array], theirs: Mapping[str, Array]) -> dict[str, Array]:
    """The weights and counts of two guards, each of shards of the same model, as one."""
    if not mine or not theirs:
        return dict(mine or theirs)
    one, two = (side["counts"].sum() for side in (mine, theirs))
    share = two / max(one + two, 1e-300)
    weights = mine["weights"] + share * (theirs["weights"] - mine["weights"])
    return {"weights": weights, "counts": mine["counts"] + theirs["counts"]}


def prior_of(weights: int) -> tuple[Floats, float]:
    """First weights of the numbers alone, so many, and the curvature of their prior."""
    return np.zeros(weights), _PRIOR
