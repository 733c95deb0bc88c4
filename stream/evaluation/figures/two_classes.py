"""AUC of a stream of two classes, which a few labels of other classes do not take away.

A label that is mistyped once is a third class for good. So which two classes are ranked is decided from the events: the
two with the most, while all others are few (`few.py`). Until that is clear each pair of the first four classes is
counted by itself: of the first classes two may be mistakes, and later ones any number. It is looked at after 1,024
events and each time their number has doubled. Then either one pair goes on alone, or, where more than a quarter of the
events are of other classes, the stream is one of several classes, and nothing is ranked any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.models.parts.strays import ONCE_OR_TWICE
from thalweg.proto.schema import Array
from thalweg.stream.evaluation.figures.bounds import Bound
from thalweg.stream.evaluation.figures.few import few
from thalweg.stream.evaluation.figures.ranking import Ranks

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
_FIRST = 4
_LOOKED_AT, _SEVERAL = 1024, 0.25
COLUMNS = tuple(f"score.{place}" for place in range(_FIRST))
"""Scores of the ranked classes, (N,) each; 0 where the predictor did not know the class."""


class Pair(NamedTuple):
    """Two ranked classes."""

    places: tuple[int, int]
    """Which of the ranked classes they are: their `COLUMNS`."""
    numbers: tuple[int, int]
    """Their class numbers."""


class TwoClasses:
    """Ranks the events of two classes. Not thread-safe.

    The first four classes that predictor or labels name are ranked. Whether a predictor names a class before its first
    event does not matter: until then its score is 0.

    Args:
        names: The ranked classes so far.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = list(names[:_FIRST])
        """The ranked classes."""
        self._ranks = {places: Ranks() for places in combinations(range(_FIRST), 2)}

    @property
    def several(self) -> bool:
        """There are several classes: nothing is ranked any more."""
        return not self._ranks

    def add(
        self,
        scores: Array,
        classes: Sequence[str],
        label: NDArray[np.intp],
        labels: Sequence[str],
        probabilities: bool,
        before: Counts,
    ) -> dict[str, Floats]:
        """Add events (N,); returns their `COLUMNS`, NaN from where it is known that there are several classes.

        Args:
            scores: Finite scores (N, C) …
            classes: … and the class of each column.
            label: Class numbers (N,) …
            labels: … and their names; events of further numbers are of unknown classes.
            probabilities: Whether the scores are probabilities.
            before: Events of each class number before these.
        """
        came = [labels[number] for number in np.unique(label)[:_FIRST].tolist() if number < len(labels)]
        for name in (*classes[:_FIRST], *came):
            if len(self.names) < _FIRST and name not in self.names:
                self.names.append(name)
        columns = {name: np.zeros(len(label)) for name in COLUMNS}
        for column, name in enumerate(classes):
            if name in self.names:
                columns[COLUMNS[self.names.index(name)]] = scores[:, column]
        for count, seen in _looks(label, before):
            self._look(seen, labels)
            if self.several:
                return {name: np.where(np.arange(len(label)) < count, one, np.nan) for name, one in columns.items()}
        numbers = _numbers(self.names, labels)
        for (first, second), ranks in self._ranks.items():
            no, yes = numbers.get(first, -1), numbers.get(second, -1)
            rows = np.flatnonzero((label == no) | (label == yes))
            if len(rows):
                margin = columns[COLUMNS[second]][rows] - columns[COLUMNS[first]][rows]
                ranks.add(margin, label[rows] == yes, probabilities)
        return columns

    def add_probabilities(self, given: Floats, positive: NDArray[np.bool_]) -> None:
        """Add events (N,) of the classes 0 and 1 with these probabilities of a 1."""
        self.names = ["0", "1"]
        self._ranks.setdefault((0, 1), Ranks()).add(2.0 * given - 1.0, positive, True)

    def pair(self, seen: Counts, labels: Sequence[str]) -> Pair | None:
        """The two classes of a stream with so many events of each class number; None if there are not two."""
        pair, others = self._largest(seen, labels)
        total = int(seen.sum())
        if pair is None or not all(seen[number] for number in pair.numbers) or (others and not few(others, total)):
            return None
        return pair

    def found(self, pair: Pair) -> tuple[float, Bound | None] | None:
        """The AUC of these two classes and its bounds; None if it is not known."""
        return self._ranks[pair.places].found

    def _look(self, seen: Counts, labels: Sequence[str]) -> None:
        """Decide what to go on with."""
        total = int(seen.sum())
        pair, others = self._largest(seen, labels)
        if others > _SEVERAL * total:
            self._ranks = {}
        elif pair is not None and seen[list(pair.numbers)].min() > ONCE_OR_TWICE and (not others or few(others, total)):
            self._ranks = {pair.places: self._ranks[pair.places]}

    def _largest(self, seen: Counts, labels: Sequence[str]) -> tuple[Pair | None, int]:
        """The two classes with the most events, if they are ranked, and how many events are of others."""
        two = np.argsort(-seen, kind="stable")[:2].tolist()
        others = int(seen.sum() - seen[two].sum())
        names = [labels[number] for number in two if number < len(labels)]
        if len(names) < 2 or any(name not in self.names for name in names):
            return None, others
        (first, no), (second, yes) = sorted((self.names.index(name), number) for name, number in zip(names, two))
        return (Pair((first, second), (no, yes)) if (first, second) in self._ranks else None), others

    def tensors(self) -> dict[str, Array]:
        """Tensors for a snapshot, beside `names`."""
        found: dict[str, Array] = {}
        for places, ranks in self._ranks.items():
            found |= {_name(places): tensor for tensor in ranks.tensors().values()}
        return found if self._ranks else {"ranks.several": np.ones(1, dtype=np.int64)}

    @classmethod
    def of(cls, tensors: Mapping[str, Array], names: Sequence[str], events: int) -> TwoClasses:
        """From `tensors()` and `names` after so many events. An earlier version ranked the first two classes alone,
        while there was no third.
        """
        made = cls(names)
        if "ranks.several" in tensors:
            made._ranks = {}
            return made
        saved = {places: tensors[_name(places)] for places in made._ranks if _name(places) in tensors}
        made._ranks |= {places: Ranks.of({"ranks": tensor}) for places, tensor in saved.items()}
        if events >= _LOOKED_AT and len(saved) == 1:  # of one class there would be three
            made._ranks = {places: made._ranks[places] for places in saved}
        return made


def _looks(label: NDArray[np.intp], before: Counts) -> Iterator[tuple[int, Counts]]:
    """After which of these events (N,) it is looked at, and the events of each class until then."""
    start = int(before.sum())
    at = max(_LOOKED_AT, 1 << start.bit_length())
    while at <= start + len(label):
        seen = np.bincount(label[: at - start], minlength=len(before))
        seen[: len(before)] += before
        yield at - start, seen
        at *= 2


def _numbers(names: Sequence[str], labels: Sequence[str]) -> dict[int, int]:
    """The class numbers of these ranked classes, by place."""
    known = {name: number for number, name in enumerate(labels) if name in names}
    return {place: known[name] for place, name in enumerate(names) if name in known}


def _name(places: tuple[int, int]) -> str:
    return "ranks" if places == (0, 1) else f"ranks.{places[0]}.{places[1]}"


def with_scores(tensors: Mapping[str, Array], of_probabilities: bool) -> Mapping[str, Array]:
    """The tensors of a recent window with the `COLUMNS`, if an earlier version saved it: that kept their difference.

    `of_probabilities`: of a 1, which are still kept.
    """
    margin = tensors.get("recent.margin")
    if margin is None or of_probabilities or f"recent.{COLUMNS[0]}" in tensors:
        return tensors
    kept = {name: tensor for name, tensor in tensors.items() if name != "recent.margin"}
    none = np.where(np.isnan(margin), np.nan, 0.0)
    return {**kept, **{f"recent.{name}": margin if name == COLUMNS[1] else none for name in COLUMNS}}
