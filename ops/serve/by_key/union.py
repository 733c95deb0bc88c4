"""One set of classes and outputs for predictors that know different ones: shards of a model learn different events.

A class that a shard has not seen has the probability 0 there, and a score below all others. The order of the classes is
the configured one, or a function of their set alone, unless all shards have the same one: so on every server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from thalweg.models.contract.learner import Predictor
from thalweg.proto.schema import Array, InputError, TensorSpec
from thalweg.proto.task import BY_CLASS, SHARES, task_of


class Union:
    """What the predictors of a model's shards have together.

    Args:
        predictors: At least one.
        configured: The classes that the configuration names, in its order: they come first, seen or not.
    """

    def __init__(self, predictors: Sequence[Predictor], configured: Sequence[str] = ()) -> None:
        self.task = next((found for one in predictors if (found := task_of(one)).probabilities), task_of(predictors[0]))
        sets = list(dict.fromkeys(one.classes for one in predictors))
        self.classes = sets[0] if len(sets) == 1 and not configured else _ordered(sets, configured)
        self._same = sets == [self.classes]
        outputs: dict[str, TensorSpec] = {}
        for one in predictors:
            outputs |= one.outputs
        self._by_class = {name for name in outputs if self._has_classes(name)}
        self._zero = {name for name in self._by_class if self._is_probability(name, predictors)}
        self.outputs: Mapping[str, TensorSpec] = {
            name: replace(spec, shape=(-1,)) if name in self._by_class and not self._same else spec
            for name, spec in outputs.items()
        }
        places = {name: place for place, name in enumerate(self.classes)}
        self._columns = {known: np.array([places[name] for name in known], dtype=np.int64) for known in sets}

    def aligned(self, predictor: Predictor, found: Mapping[str, Array], rows: int) -> Mapping[str, Array]:
        """The outputs of one of the predictors, (N, ...), with these classes; those that it lacks are NaN or no class.

        Args:
            predictor: Which one.
            found: What it answered.
            rows: N.
        """
        if self._same and found.keys() == self.outputs.keys():
            return found
        columns = self._columns[predictor.classes]
        aligned: dict[str, Array] = {}
        for name, spec in self.outputs.items():
            if name not in found:
                aligned[name] = self._nothing(name, spec, rows)
            elif self._same:
                aligned[name] = found[name]
            elif name in self._by_class:
                aligned[name] = self._spread(name, found[name], columns)
            elif self.is_code(name):
                codes = np.append(columns, -1)
                aligned[name] = codes[found[name]].astype(found[name].dtype)
            else:
                aligned[name] = found[name]
        return aligned

    def translated(self, predictor: Predictor, codes: Array, name: str) -> Array:
        """Places in these classes as places in a predictor's own. Raises InputError for a class that it lacks."""
        if self._same or not codes.size or codes.min() < 0 or codes.max() >= len(self.classes):
            return codes  # what is out of range is refused by the predictor
        own = np.full(len(self.classes), -1, dtype=codes.dtype)
        own[self._columns[predictor.classes]] = np.arange(len(predictor.classes))
        found: Array = own[codes]
        if (found < 0).any():
            unseen = self.classes[int(codes[found < 0][0])]
            raise InputError(f"input {name!r:.80}: expected classes that the key's shard has seen, got {unseen!r:.80}")
        return found

    def is_code(self, name: str) -> bool:
        """Whether an output holds places in `classes`; -1 is none."""
        spec = self.outputs[name]
        whole = spec.dtype == "bytes" or np.dtype(spec.dtype).kind == "i"
        return spec.dtype == "bytes" or (whole and self.task.label == "class" and name.startswith(self.task.answer))

    def is_score(self, name: str) -> bool:
        """Whether an output has a column for each class that is no probability: a class not seen has no such score."""
        return name in self._by_class and name not in self._zero

    def present(self, predictor: Predictor) -> NDArray[np.bool_]:
        """Which of the classes a predictor knows, (C,)."""
        found = np.zeros(len(self.classes), dtype=np.bool_)
        found[self._columns[predictor.classes]] = True
        return found

    def _has_classes(self, name: str) -> bool:
        return name in (*BY_CLASS, self.task.scores, self.task.confidence)

    def _is_probability(self, name: str, predictors: Sequence[Predictor]) -> bool:
        said = any(one.properties.get(name) == "probabilities" for one in predictors)
        return name in SHARES or said or (name == self.task.scores and self.task.probabilities)

    def _spread(self, name: str, values: Array, columns: NDArray[np.int64]) -> Array:
        """A column for each class, (N, C)."""
        absent = 0 if name in self._zero else np.finfo(values.dtype).min
        wide = np.full((len(values), len(self.classes)), absent, dtype=values.dtype)
        wide[:, columns] = values
        return wide

    def _nothing(self, name: str, spec: TensorSpec, rows: int) -> Array:
        shape = tuple(len(self.classes) if name in self._by_class else max(0, size) for size in spec.shape)
        dtype = np.dtype(np.int32 if spec.dtype == "bytes" else spec.dtype)
        return np.full((rows, *shape), np.nan if dtype.kind == "f" else -1, dtype=dtype)


def _ordered(sets: Sequence[tuple[str, ...]], configured: Sequence[str]) -> tuple[str, ...]:
    return (*configured, *sorted({name for one in sets for name in one}.difference(configured)))
