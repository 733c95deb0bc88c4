"""Which column of a sample is the label, where nobody says it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from thalweg.ops.init.event_time import TIMES
from thalweg.ops.init.of_ids import is_key, users_and_items
from thalweg.ops.init.readings import missing, numbers_of, text_of
from thalweg.ops.run.failed import Failed

_SURE = (
    *("label", "target", "class", "y", "outcome", "truth", "fraud", "churn", "clicked", "click"),
    *("ziel", "zielvariable", "klasse", "objetivo", "clase", "étiquette", "etiquette", "cible", "classe", "obiettivo"),
)
_STARTS = ("is_", "has_", "was_")
_PARTS = {"label", "labels", "target", "outcome", "truth"}
"""Words of a longer name: `label_1`, `target_class`."""
_RATINGS = ("rating", "ratings", "stars", "score")
_KNOWN = {
    *("species", "variety", "survived", "diagnosis", "sentiment", "spam", "churned", "attrition", "exited", "default"),
    *("default payment next month", "converted", "purchased", "readmitted", "subscribed", "defaulted", "cancelled"),
    *("rating", "stars", "quality", "price", "sale price", "saleprice", "selling price", "medv", "charges", "salary"),
    *("median house value", "mpg", "rings", "strength", "income", "revenue", "demand"),
}
"""Names of labels in data sets that many people begin with."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_MOST_CLASSES = 100
_MOST_TYPES = 1000
_OF_EVENTS = 3  # columns of a file of events: whose, when, what


class LabelName(NamedTuple):
    """The label's column."""

    name: str
    doubt: str
    """Why it may be another, to be told aloud; empty: its name says it."""


def label_name(names: Sequence[str], values: Mapping[str, Sequence[Any]]) -> LabelName:
    """The column that looks most like a label.

    Args:
        names: Columns, by name or path, in order.
        values: Those of each.

    Raises:
        Failed: None does, with what to type.
    """
    if not names:
        raise Failed("the records have no fields")
    if len(names) == 1:
        raise Failed(
            f"expected a label and columns beside it, got one column, {names[0]!r:.80}; "
            "is something else between columns? --delimiter C says what, C being tab, space or a character"
        )
    by_name = {name.rpartition(".")[2].strip().lower(): name for name in reversed(names)}
    for name in _SURE:
        if name in by_name and not (name == "y" and _is_place(by_name)):
            others = [by_name[other] for other in (*_SURE, *_KNOWN) if other in by_name and other != name]
            two = others and _classes(values[by_name[name]]) > 2 and [o for o in others if _classes(values[o]) == 2]
            return LabelName(by_name[name], _other(f"by its name, though {two[0]} may be it, too") if two else "")
    starts = [name for name in by_name.values() if f"{'_'.join(_words(name.rpartition('.')[2]))}_".startswith(_STARTS)]
    if len(starts) == 1:
        return LabelName(starts[0], "")
    if not starts:
        if found := type_of_events(names, values) or rating(names, values):
            return LabelName(found, "")
        for wanted in (lambda words: _PARTS & {*words}, lambda words: " ".join(words) in _KNOWN):
            likely = [
                name
                for name in by_name.values()
                if any(map(wanted, (_words(name.rpartition(".")[2]), _words(name)))) and _varies(values[name])
            ]
            if len(likely) == 1:
                return LabelName(likely[0], _other("by its name"))
        last = names[-1]
        given = [text_of(value) for value in values[last] if not missing(value)]
        if 2 <= len(set(given)) <= min(_MOST_CLASSES, max(2, len(given) // 10)):
            return LabelName(last, _other("as it is the last column, and of few different values"))
        two = [name for name in names if _classes(values[name]) == 2]
        if len(two) == 1:
            return LabelName(two[0], _other("as it is the only column of two different values"))
    among = starts or list(names)
    raise Failed(
        f"no column looks like the label: name it, --label {_quoted(among[-1])} for example; "
        f"there are: {', '.join(among)}"
    )


def type_of_events(names: Sequence[str], values: Mapping[str, Sequence[Any]]) -> str:
    """The column of types, where there are keys and times beside it and nothing else; empty: there is none."""
    times = [name for name in names if TIMES.search(name)]
    keys = [name for name in names if name not in times and is_key(name)]
    others = [name for name in names if name not in (*times, *keys)]
    if len(names) != _OF_EVENTS or not len(times) == len(keys) == len(others) == 1:
        return ""
    given = [text_of(value) for value in values[others[0]] if not missing(value) and not isinstance(value, list)]
    fractions = any(isinstance(value, float) and not value.is_integer() for value in values[others[0]])
    return others[0] if 2 <= len(set(given)) <= min(_MOST_TYPES, len(given) // 2) and not fractions else ""


def rating(names: Sequence[str], values: Mapping[str, Sequence[Any]]) -> str:
    """The column of ratings of users and items; empty: there is none."""
    if users_and_items(names) is None:
        return ""
    found = next((name for name in names if name.rpartition(".")[2].lower() in _RATINGS), "")
    return found if found and numbers_of([value for value in values[found] if not missing(value)]) else ""


def _is_place(by_name: Mapping[str, str]) -> bool:
    """Whether `y` is where something is: there is `x`, and more than what it would tell."""
    return "x" in by_name and len(by_name) > 2


def _classes(column: Sequence[Any]) -> int:
    return len({text_of(value) for value in column if not missing(value)})


def _varies(column: Sequence[Any]) -> bool:
    return _classes(column) > 1


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def _other(why: str) -> str:
    return f"taken for the label {why}; --label NAME names another"


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[\w.-]+", name) else f"'{name}'"
