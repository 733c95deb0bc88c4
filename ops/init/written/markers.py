"""Markers of missing values in a sample: the few texts among numbers, times or truth values, as `?` and `unknown`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

USUAL = {"", "na", "n/a", "nan", "null", "none"}
"""In lower case, what a column of numbers takes for missing by itself."""
_KNOWN = {
    *("?", "??", "-", "--", "---", "–", "—", ".", "..", "*"),
    *("unknown", "unk", "missing", "not available", "not applicable", "not known", "undefined", "unspecified", "empty"),
    *("n.a.", "n.a", "n/k", "nk", "nil", "<na>", "<null>", "(null)", "(none)", "(missing)", "[null]", "\\n", "#n/a"),
    *("inf", "-inf", "+inf", "infinity", "-infinity", "+infinity"),
    *("#value!", "#null!", "#div/0!", "#ref!", "#num!", "#name?", "nd", "n.d.", "tbd", "k.a.", "s/d", "not set"),
}
"""In lower case, texts that mean nothing else anywhere."""
_NO_CATEGORIES = _KNOWN - {"*", "nd", "nk", "nil", "tbd", "empty", "not set"} | {"n/a", "nan", "null"}
"""Those that are no category either; `none` and `NA` may be one."""
_LEAST_OF_VALUES = 0.2
"""Share of the values that must be numbers (times, truth values) for known markers to be markers …"""
_LEAST_AMONG_OTHERS = 0.8
"""… and for other texts, at most `_MOST_OTHERS` different ones that hold no digit."""
_MOST_OTHERS = 3
_LEAST_DIFFERENT = 5
_DIGIT = re.compile(r"\d")
_LONGEST = 30


def is_marker(value: Any) -> bool:
    """Whether a value is a text that means nothing else anywhere."""
    return isinstance(value, str) and value.strip().lower() in _KNOWN


def markers_among_texts(column: Sequence[Any]) -> tuple[str, ...]:
    """The texts that stand for missing values in a column of categories or texts, the commonest first."""
    texts = Counter(one.strip() for one in column if isinstance(one, str))
    found = [text for text, _ in texts.most_common() if text.lower() in _NO_CATEGORIES]
    return tuple(found) if len(found) < len(texts) - ("" in texts) else ()


def markers_in(given: Sequence[Any], is_value: Callable[[Any], bool]) -> tuple[str, ...]:
    """The texts that stand for missing values, the commonest first; none if all are values, or others are no markers.

    Args:
        given: Values of one column that are not missing.
        is_value: Whether one is of the column's kind.
    """
    values = [one for one in given if is_value(one)]
    others = Counter(one.strip() if isinstance(one, str) else None for one in given if not is_value(one))
    texts = [text for text, _ in others.most_common() if text is not None]
    if not values or not others or None in others:
        return ()
    share = len(values) / len(given)
    if share >= _LEAST_OF_VALUES and all(text.lower() in _KNOWN | USUAL for text in texts):
        return tuple(texts)
    rare = share >= _LEAST_AMONG_OTHERS and len(texts) <= _MOST_OTHERS and len(set(values)) >= _LEAST_DIFFERENT
    plain = all(len(text) <= _LONGEST and not _DIGIT.search(text) for text in texts)
    often = all(count > 1 for count in others.values())  # one alone may be a mistake
    return tuple(texts) if rare and plain and often else ()
