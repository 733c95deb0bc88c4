"""Which features a column has, and where they stand in a row of features.

Columns are ordered by name, so that the order of the configuration makes no difference. What is computed together
stands together: numbers, parts of times, their missing values, categories, hashed values, texts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from thalweg.proto.rows.column import Column

CYCLES = ("hour of day", "day of week", "day of year")
_FOR_READING = frozenset({"name", "field", "unit", "missing_values"})
"""Options that say how a record is read, not what its values become."""


@dataclass(slots=True)
class Span:
    """Places of one column's features: `own` of them from `first` on, and others; -1: it has none."""

    column: Column
    first: int = -1
    own: int = 0
    trend: int = -1
    """`datetime`: the scaled time."""
    missing: int = -1
    """1 where the value is missing."""

    @property
    def other(self) -> int:
        """`categorical`: the feature shared by all categories without one of their own."""
        return self.first + self.own - 1


def slots(column: Column) -> int:
    """How many categories may have a feature of their own."""
    return len(column.categories) or column.max_categories


def is_numbers(column: Column) -> bool:
    """Whether its values are numbers as they are: numeric, boolean, or a list of numbers."""
    return column.kind in ("numeric", "boolean") or (column.kind == "list" and column.length > 0)


class Layout:
    """The features of all columns, F in all: first the scaled numbers, then those that are not, then all others."""

    def __init__(self, columns: Mapping[str, Column]) -> None:
        spans = [Span(columns[name]) for name in sorted(columns)]
        self.spans: Sequence[Span] = spans
        self.numbers = [one for one in spans if is_numbers(one.column)]
        self.numbers.sort(key=lambda one: not one.column.scale)
        self.times = [one for one in spans if one.column.kind == "datetime"]
        self.categorical = [one for one in spans if one.column.kind == "categorical"]
        self.hashed = [one for one in spans if one.column.kind == "hashed"]
        self.texts = [one for one in spans if one.column.kind in ("text", "list") and one not in self.numbers]
        self.width = 0
        """Features per event, F."""
        self._place()

    def _place(self) -> None:
        for one in (span for span in self.numbers if span.column.scale):
            self._give(one, max(1, one.column.length))
        for one in (span for span in self.times if span.column.trend):
            one.trend = self.width
            self.width += 1
        self.scaled = self.width
        """Number of scaled features; they are the first."""
        for one in (span for span in self.numbers if not span.column.scale):
            self._give(one, max(1, one.column.length))
        self.plain = self.width
        """The place after the last number."""
        for one in self.times:
            self._give(one, 2 * len(CYCLES))
        self._give_missing([*self.numbers, *self.times])
        for one in self.categorical:
            self._give(one, slots(one.column) + 1)
            self._give_missing([one])
        for one in [*self.hashed, *self.texts]:
            self._give(one, one.column.buckets)
            self._give_missing([one])

    def _give(self, span: Span, count: int) -> None:
        span.first, span.own = self.width, count
        self.width += count

    def _give_missing(self, spans: Sequence[Span]) -> None:
        for span in spans:
            if span.column.missing == "indicator":
                span.missing = self.width
                self.width += 1

    def smooth(self) -> list[int]:
        """Places of scaled numbers and of the cycles of times."""
        cycles = [place for one in self.times for place in range(one.first, one.first + one.own)]
        return [*range(self.scaled), *cycles]

    def columns(self) -> list[str]:
        """The column of each feature, (F,)."""
        found = [""] * self.width
        for span in self.spans:
            for place in (*range(span.first, span.first + span.own), span.trend, span.missing):
                if place >= 0:
                    found[place] = span.column.name
        return found

    def names(self, categories: Sequence[Sequence[bytes]]) -> list[str]:
        """The name of each feature, (F,). `categories`: those with a feature, for each categorical column in order."""
        found = [""] * self.width
        for span in self.spans:
            name, column = span.column.name, span.column
            own = [name]
            if column.kind == "datetime":
                own = [f"{name} ({cycle}, {part})" for cycle in CYCLES for part in ("sin", "cos")]
            elif column.kind == "categorical":
                known = [text.decode(errors="replace") for text in categories[self.categorical.index(span)]]
                own = [f"{name}={text}" for text in known]
                own += [f"{name} (free {place})" for place in range(len(own), slots(column))] + [f"{name} (other)"]
            elif not is_numbers(column):
                own = [f"{name} (bucket {bucket})" for bucket in range(column.buckets)]
            elif column.length:
                own = [f"{name}[{place}]" for place in range(column.length)]
            found[span.first : span.first + span.own] = own
            for place, text in ((span.trend, "trend"), (span.missing, "missing")):
                if place >= 0:
                    found[place] = f"{name} ({text})"
        return found

    def sha256(self, seed: int) -> str:
        """Hash of what determines the features of values: stages of equal hash can restore each other's states."""
        options = [one.name for one in fields(Column) if one.name not in _FOR_READING]
        table = [[one.column.name, *(getattr(one.column, option) for option in options)] for one in self.spans]
        return hashlib.sha256(json.dumps([table, seed]).encode()).hexdigest()
