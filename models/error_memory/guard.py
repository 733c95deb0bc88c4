"""What the answers of a memory are held against: the network alone, the mean label of late, and the numbers alone.

A combination of twenty features is learned from few labels at first: where one view in a thousand is clicked it takes
hundreds of labels to say so, another recommender's score among the numbers is believed late, and what it has learned
may turn. So four answers are experts, weighed by the likelihood of the labels; a share of all weight is spread evenly
after each event, so that any may lead again (fixed share: Herbster and Warmuth, "Tracking the Best Expert", Machine
Learning 32, 1998). Over any T events the log loss is above that of the best of E experts by at most log(E / SHARE) +
T · SHARE, and by log E + T · SHARE from the first event on. The numbers alone are a `RecursiveLogistic` of few weights.
Cost per event: four logarithms, and with H numbers a solve of H + 1 unknowns. State: weights, two counts, H² numbers.
"""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True)
class Trust:
    """The experts and their weights, for reading; immutable."""

    weights: Floats
    """(E,), their sum is 1: of the answer with the memory, the network alone, the rate, and perhaps the numbers."""
    rate: float
    """The mean label of late."""
    numbers: Floats
    """(H + 1,) weights of a constant and of the numbers; (0,) without numbers."""

    def answers(self, own: Floats, base: Floats, features: Floats) -> Floats:
        """What each expert says, (N, E).

        Args:
            own: (N,) scores with the memory.
            base: (N,) scores of the network alone.
            features: (N, features) of the combination: a constant first, the numbers last.
        """
        found = [own, base, np.full(len(own), self.rate)]
        if len(self.numbers):
            found.append(sigmoid((numbers_of(features, len(self.numbers)) * self.numbers).sum(axis=1)))
        return np.stack(found, axis=1)

    def mixed(self, own: Floats, base: Floats, features: Floats) -> Floats:
        """Scores (N,); arguments as of `answers`."""
        if self.weights[0] == 1.0:
            return own
        mixed: Floats = (self.answers(own, base, features) * self.weights).sum(axis=1)
        return mixed

    def tensors(self) -> dict[str, Array]:
        """For a published version."""
        return {"weights": self.weights, "rate": np.array([self.rate]), "numbers": self.numbers}

    @classmethod
    def of(cls, tensors: Mapping[str, Array]) -> Trust:
        """The one of these `tensors()`; of none, as an earlier version published: the memory alone answers."""
        if not tensors:
            return cls(np.ones(1), _HALF, np.zeros(0))
        return cls(tensors["weights"], float(tensors["rate"][0]), tensors["numbers"])


class Guard:
    """The experts while labels come. One thread uses it."""

    def __init__(self, numbers: int, memory: float) -> None:
        """Without labels: the answer with the memory stands.

        Args:
            numbers: H, of the combination.
            memory: Events after which a label counts 1/e.
        """
        self._alone = RecursiveLogistic(np.zeros(numbers + 1), _PRIOR, memory) if numbers else None
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
        said = self.reading().answers(own, base, features).clip(_NARROW, 1.0 - _NARROW)
        each = labels[:, None] * np.log(said) + (1.0 - labels[:, None]) * np.log1p(-said)
        gains = (importance[:, None] * each).sum(axis=0)
        weights = self._weights * np.exp(gains - gains.max())
        spread = 1.0 - (1.0 - SHARE) ** count
        self._weights = (1.0 - spread) * weights / weights.sum() + spread / len(weights)
        seen = np.array([(importance * (1.0 - labels)).sum(), (importance * labels).sum()])
        self._counts = np.exp(-count / self._memory) * self._counts + seen
        if self._alone is not None:
            self._alone.learn(numbers_of(features, len(self._alone.weights)), labels, importance)

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
            if self._alone is not None:
                self._alone.restore({name: tensors[f"alone.{name}"] for name in self._alone.tensors()})


def numbers_of(features: Floats, count: int) -> Floats:
    """Of the features (N, features) of a combination, the constant and the numbers, so many together."""
    found: Floats = np.concatenate([features[:, :1], features[:, features.shape[1] - count + 1 :]], axis=1)
    return found


def joined(mine: Mapping[str, Array], theirs: Mapping[str, Array]) -> dict[str, Array]:
    """The weights and counts of two guards, each of shards of the same model, as one."""
    if not mine or not theirs:
        return dict(mine or theirs)
    one, two = (side["counts"].sum() for side in (mine, theirs))
    share = two / max(one + two, 1e-300)
    weights = mine["weights"] + share * (theirs["weights"] - mine["weights"])
    return {"weights": weights, "counts": mine["counts"] + theirs["counts"]}


def prior_of(numbers: int) -> tuple[Floats, float]:
    """First weights of the numbers alone, and the curvature of their prior."""
    return np.zeros(numbers + 1), _PRIOR
