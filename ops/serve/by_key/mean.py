"""The mean over the answers of several shards, for rows without a key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from thalweg.models.contract.learner import Predictor
from thalweg.ops.serve.by_key.union import Union
from thalweg.ops.serve.errors import Unimplemented
from thalweg.proto.schema import Array


def mean_of(union: Union, answers: Iterable[tuple[Predictor, Mapping[str, Array]]], rows: int) -> Mapping[str, Array]:
    """The mean answer, (N, ...); NaN counts for nothing.

    Probabilities of a class that a shard has not seen are 0 there; other scores are averaged over the shards that have
    seen it. A class is the one of the highest mean score, or where there are no scores, of the most shards.

    Args:
        union: Of the predictors.
        answers: The predictors and their outputs, aligned to it; at least one. Taken one at a time, so that many
            shards need no more memory than one.
        rows: N.

    Raises:
        Unimplemented: An output has no mean.
    """
    numbers: dict[str, _Mean] = {}
    codes: dict[str, _Votes] = {}
    for predictor, outputs in answers:
        for name, spec in union.outputs.items():
            given = outputs[name]
            if union.is_code(name):
                codes.setdefault(name, _Votes(given, len(union.classes))).add(given)
            elif given.dtype.kind != "f":
                raise Unimplemented(
                    f"output {name!r} ({spec.dtype}) has no mean over shards: expected a key for each row"
                )
            else:
                counts = ~np.isnan(given)
                if union.is_score(name):
                    counts &= union.present(predictor)[None, :]
                numbers.setdefault(name, _Mean(given)).add(given, counts)
    found = {name: one.value() for name, one in numbers.items()}
    scores = found.get(union.task.scores)
    found |= {name: votes.classes(scores, rows) for name, votes in codes.items()}
    return {name: found[name] for name in union.outputs}


class _Mean:
    """The mean of numbers, each array like the first."""

    def __init__(self, like: Array) -> None:
        self._dtype = like.dtype
        self._total, self._some = np.zeros(like.shape, np.float64), np.zeros(like.shape, np.int64)

    def add(self, given: Array, counts: Array) -> None:
        """Add those that count."""
        np.add(self._total, given, out=self._total, where=counts)
        self._some += counts

    def value(self) -> Array:
        """NaN where nothing counted."""
        unknown = np.full(self._total.shape, np.nan)
        mean: Array = np.divide(self._total, self._some, out=unknown, where=self._some > 0)
        return mean.astype(self._dtype)


class _Votes:
    """Which class shards say: by the mean scores, or by their number; -1: none."""

    def __init__(self, like: Array, classes: int) -> None:
        self._like = like
        self._votes = np.zeros((len(like), classes), np.int64) if like.ndim == 1 else None
        self._able = np.zeros(len(like), bool)

    def add(self, codes: Array) -> None:
        """Add what one shard says."""
        if self._votes is not None and self._votes.size:
            known = np.flatnonzero(codes >= 0)
            self._votes[known, codes[known]] += 1
            self._able[known] = True

    def classes(self, scores: Array | None, rows: int) -> Array:
        """The class of each row. `scores`: the mean ones, if there are any."""
        chosen = np.full(self._like.shape, -1, dtype=self._like.dtype)
        if self._votes is None or not self._votes.size or not rows:
            return chosen  # several steps ahead: each follows from the one before, in one shard
        by = self._votes if scores is None else np.where(np.isnan(scores), -np.inf, scores)
        chosen[self._able] = by.argmax(axis=1)[self._able]
        return chosen
