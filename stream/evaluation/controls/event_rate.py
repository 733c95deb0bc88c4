"""The naive control of event sequences: events at the mean rate so far, of types as often as they came so far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from thalweg.stream.evaluation.controls.kinds import COUNTED, Control, MeanNumbers
from thalweg.stream.evaluation.grading import ALL_ROWS, Alike, Graded

_PRIOR = 0.5
_PREDICTED = np.dtype([("mean", "f8"), ("seen", "f8"), ("counts", "f8", (COUNTED,))])


class EventRate(Control):
    """A Poisson process: the gap to a key's next event is exponential with the mean gap of all keys so far, its type
    has the share of that type so far. A model that is no better has learned nothing from the history of a key.
    """

    timed: ClassVar = True

    def __init__(self) -> None:
        self._gaps = MeanNumbers()  # one gap from a wrong time is no part of it
        self._known = 0
        self._counts = np.zeros(COUNTED)
        self._seen = 0

    def follow(self, labels: NDArray[Any]) -> NDArray[Any]:
        types = labels["label"]
        found = np.zeros(len(labels), _PREDICTED)
        known = np.isfinite(labels["gap"]) & (labels["gap"] >= 0)
        before = self._known + np.cumsum(known) - known  # gaps before each event
        if known.any():
            means = self._gaps.follow(labels["gap"][known][:, None])[:, 0]
            after = np.concatenate([means, self._mean()])
            found["mean"] = after[before - self._known]
            self._known += int(known.sum())
        else:
            found["mean"] = self._mean()
        found["mean"][(before == 0) | (found["mean"] <= 0)] = np.nan
        came = np.zeros((len(labels), COUNTED))
        came[np.arange(len(labels)), np.minimum(types, COUNTED - 1)] = 1.0
        sums = np.cumsum(np.concatenate([self._counts[None], came]), axis=0)
        found["counts"], self._counts = sums[:-1], sums[-1]
        seen = np.maximum.accumulate(np.concatenate([[self._seen], types + 1]))
        found["seen"], self._seen = seen[:-1], int(seen[-1])
        return found

    def _mean(self) -> NDArray[Any]:
        """Of the gaps so far, (1,)."""
        tensors = self._gaps.tensors()
        sums = tensors["sums"]
        return np.asarray(sums / max(int(tensors["count"][0]), 1)) if len(sums) else np.zeros(1)

    @staticmethod
    def grade(predicted: NDArray[Any], labels: NDArray[Any]) -> Graded:
        types, gaps, mean = labels["label"], labels["gap"], predicted["mean"]
        counts, places = predicted["counts"], np.minimum(types, COUNTED - 1)
        shared = np.where(places == COUNTED - 1, np.maximum(predicted["seen"] - (COUNTED - 1), 1), 1)
        count = counts[np.arange(len(types)), places] / shared
        likely = (count + _PRIOR) / (counts.sum(axis=1) + _PRIOR * (predicted["seen"] + 1))  # one that never came, too
        best = np.argsort(-counts, axis=1, kind="stable")[:, :3]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            of_gap = np.log(labels["unit"]) - np.log(mean) - gaps / mean
            found = {
                "log_likelihood": np.log(likely) + of_gap,
                "hazard": gaps / mean,
                "gap_squared": (mean - gaps) ** 2,
                "log_gap": np.abs(np.log(mean) - np.log(gaps)),
            }
        columns = {name: np.where(np.isfinite(column), column, np.nan) for name, column in found.items()}
        columns["top3"] = ((best == types[:, None]) & (counts > 0)[np.arange(len(types))[:, None], best]).any(
            axis=1
        ) * 1.0
        correct = (best[:, 0] == types) & (counts.max(axis=1) > 0)
        columns |= {"correct": correct, "label": types}
        return Graded(ALL_ROWS, columns, Alike("classes", columns=tuple(columns)))

    def tensors(self) -> dict[str, NDArray[Any]]:
        gaps = {f"gaps_{name}": tensor for name, tensor in self._gaps.tensors().items()}
        return {"counts": self._counts, "seen": np.array([self._seen, self._known]), **gaps}

    def restore(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._counts = tensors["counts"].copy()
        self._seen, self._known = tensors["seen"].tolist()
        gaps = {name.removeprefix("gaps_"): one for name, one in tensors.items() if name.startswith("gaps_")}
        self._gaps.restore(gaps)
