"""Columns that only tell rows apart: what they hold says so, and their names which of them is an id."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from thalweg.ops.init.event_time import unit_of_times
from thalweg.ops.init.of_ids import is_item, is_key, says_id
from thalweg.ops.init.readings import numbers_of, text_of, whole
from thalweg.ops.init.written.local import digits_written, looks_written

_UUID = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", re.I)
_UNIQUE = 0.98
_NUMBERED = re.compile(r"([^\d\s.,+-][^\d\s]{0,11})(\d{3,})")
_ENOUGH = 50
"""Rows of which each has another value, from which on that is no chance."""
_TOKEN = re.compile(r"(?=\S*\d)[^\W_][\w:/+=.-]*")
"""One word that holds a digit."""
_TIME = re.compile(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|\d{8}T\d+|\d{1,2}:\d\d")
_LEAST_LETTERS = 8
"""Of tokens, all of one length, that are ids whatever they are called."""
_EXACT = 2.0**53


class TellsApart(NamedTuple):
    """Why a column only tells rows apart."""

    why: str
    is_id: bool
    """Whether it is the id of events, too, by which late labels are joined and duplicates dropped."""


def tells_apart(name: str, given: Sequence[Any]) -> TellsApart | None:
    """Whether a column only tells rows apart; None if something can be learned from it.

    Args:
        name: Its name.
        given: Its values that are not missing, at least one.
    """
    words = [value for value in given if isinstance(value, str)]
    kinds = int | str | float if words else int  # among tokens some look like numbers: 12e5
    if not all(isinstance(value, kinds) and not isinstance(value, bool) for value in given):
        return None
    if _counts(given):
        return TellsApart("counts the rows", False)
    texts = list(map(text_of, given))
    different = len(set(texts))
    if len(texts) < 2 or different < _UNIQUE * len(texts):
        return None
    if says_id(name) or all(map(_UUID.fullmatch, texts)):
        return TellsApart("a different value in each row", True)
    if different < len(texts) or len(texts) < _ENOUGH:
        return None  # one that came twice is an article, and no row is lost
    numbers = numbers_of(given)
    if numbers is None:
        return _of_texts(name, words) if 2 * len(words) >= len(given) else None
    if unit_of_times(name, numbers) or digits_written(texts, named=False):
        return None
    if whole(numbers) and max(map(abs, numbers)) > _EXACT:
        return TellsApart("a different value in each row", not _comes_again(name))
    if all(before < after for before, after in pairwise(numbers)):
        return TellsApart("rises with each row, as a number of rows does", False)
    return None


def _of_texts(name: str, texts: Sequence[str]) -> TellsApart | None:
    tokens = sum(_TOKEN.fullmatch(text) is not None for text in texts)
    if tokens < _UNIQUE * len(texts) or any(" " in text or _TIME.match(text) for text in texts):
        return None  # what people write, or times
    if looks_written(texts):
        return None  # numbers or telephones
    if all("," in text or "." in text for text in texts):
        return None  # numbers in a form of their own, addresses
    alike = len({len(text) for text in texts}) == 1 and len(texts[0]) >= _LEAST_LETTERS
    numbered = [_NUMBERED.fullmatch(text) for text in texts]
    in_order = all(numbered) and len({found[1] for found in numbered if found}) == 1
    return TellsApart("a different value in each row", in_order or (alike and not _comes_again(name)))


def _comes_again(name: str) -> bool:
    """Whether a value is expected in later rows, so that it is no id of events."""
    return is_key(name) or is_item(name)


def _counts(given: Sequence[Any]) -> bool:
    """Whether a column is the number of its row."""
    if len(given) < 3 or not all(isinstance(value, int) for value in given):
        return False
    return all(after - before == 1 for before, after in pairwise(given))
