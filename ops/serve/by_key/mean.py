"""The mean over the answers of several shards, for rows without a key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from thalweg.models.contract.learner import Predictor
from thalweg.ops.serve.by_key.union import Union
from thalweg.ops.serve.errors import Unimplemented
from thalweg.proto.schema import Array


def mean_of(union: Union, answers: Sequence[tuple[Predictor, Mapping[str, Array]]], rows: int) -> Mapping[str, Array]:
    """The mean answer, (N, ...); NaN counts for nothing.

    Probabilities of a class that a shard has not seen are 0 there; other scores are averaged over the shards that have
    seen it. A class is the one of the highest mean score, or where there are no scores, of the most shards.

    Args:
        union: Of the predictors.
        answers: The predictors and their outputs, aligned to it; at least one.
        rows: N.

    Raises:
        Unimplemented: An output has no mean.
    """
    found: dict[str, Array] = {}
    for name, spec in union.outputs.items():
        stacked = np.stack([outputs[name] for _, outputs in answers])  # (shards, N, ...)
        if union.is_code(name):
            continue
        if stacked.dtype.kind != "f":
            raise Unimplemented(f"output {name!r} ({spec.dtype}) has no mean over shards: expected a key for each row")
        counts = ~np.isnan(stacked)
        if union.is_score(name):
            counts &= np.stack([union.present(one) for one, _ in answers])[:, None, :]
        found[name] = _mean(stacked, counts)
    for name in union.outputs:
        if name not in found:
            found[name] = _class_of(union, name, answers, found, rows)
    return {name: found[name] for name in union.outputs}


def _mean(stacked: Array, counts: Array) -> Array:
    total = np.where(counts, stacked, 0).astype(np.float64).sum(axis=0)
    some = counts.sum(axis=0)
    mean: Array = np.divide(total, some, out=np.full(total.shape, np.nan), where=some > 0)
    return mean.astype(stacked.dtype)


def _class_of(
    union: Union,
    name: str,
    answers: Sequence[tuple[Predictor, Mapping[str, Array]]],
    found: Mapping[str, Array],
    rows: int,
) -> Array:
    """The class of each row by the mean scores, or by the number of shards that say so; -1: none."""
    codes = np.stack([outputs[name] for _, outputs in answers])  # (shards, N, ...)
    chosen = np.full(codes.shape[1:], -1, dtype=codes.dtype)
    if codes.ndim > 2 or not union.classes or not rows:
        return chosen  # several steps ahead: each follows from the one before, in one shard
    scores = found.get(union.task.scores)
    if scores is None:
        scores = np.zeros((rows, len(union.classes)))
        for one in codes:
            known = np.flatnonzero(one >= 0)
            scores[known, one[known]] += 1
    able = (codes >= 0).any(axis=0)
    best = np.where(np.isnan(scores), -np.inf, scores).argmax(axis=1)
    chosen[able] = best[able]
    return chosen
