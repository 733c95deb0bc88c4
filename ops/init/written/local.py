"""Numbers and times in a sample that are written as people of a country write them: in which format, and how sure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise, product
from types import MappingProxyType
from typing import Any, NamedTuple

from thalweg.ops.init.sample import shown
from thalweg.ops.init.written.units import base_of, in_unit
from thalweg.proto.bounds.local_forms import NUMBER_FORMATS, SIGNS, local_number, local_time, parted_format, unit_of

_SURE = 0.99
"""Share of the values that must be written so."""
_DIGIT, _SIGN = re.compile(r"\d"), re.compile(SIGNS)
_PLAIN = re.compile(r"[-+]?(0|[1-9]\d*)?(\.\d*)?([eE][-+]?\d+)?(?<=[\d.])")
_CODE = re.compile(r"\s*0\d")
"""A number that begins so is a code."""
_BEGINS = re.compile(rf"\s*[-+(]?\s*{SIGNS}?\s*\d")
_LIKELY, _DIGITS = 0.8, 0.5
_FEW = 10  # rows
_DATES = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%y", "%d/%m/%y"),
    *("%m/%d/%y", "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%b-%y", "%d/%b/%Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y"),
)
_CLOCKS = (
    *("", " %H:%M", " %H:%M:%S", ", %H:%M", ", %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", ":%H:%M:%S", ":%H:%M:%S %z"),
    *(" %H:%M:%S.%f", " %H:%M:%S,%f"),
)
_OTHERS = (
    *("%a, %d %b %Y %H:%M:%S GMT", "%a, %d %b %Y %H:%M:%S %z", "%a %b %d %H:%M:%S %Y", "%Y-%m-%d %H:%M:%S UTC"),
    *("%Y-%m-%d %H:%M:%S.%f UTC", "%Y-%m-%d %H:%M:%S %z"),
)
_PATTERNS = (*(date + clock for date, clock in product(_DATES, _CLOCKS)), *_OTHERS)
_OF_DIGITS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_DATE = re.compile(r"(\d{4}([./-])\d{1,2}\2\d{1,2}|\d{1,2}([./-])\d{1,2}\3(\d{4}|\d\d))([ T,].*)?")


class Written(NamedTuple):
    """How values are written."""

    format: str
    """The option `format` of a column."""
    doubt: str
    """What else it could be; empty: nothing."""
    told: str = ""
    """What is to be told in any case; empty: nothing."""
    units: Mapping[str, float] = MappingProxyType({})
    """The option `units` of a column."""


def numbers_written(given: Sequence[Any]) -> Written | None:
    """The format of numbers that are texts, `3,14`, `12 %` or `12 kg`; None if most are no numbers, or plain ones."""
    texts = [one for one in given if isinstance(one, str)]
    if not texts or not _DIGIT.search(texts[0]) or all(map(str.isdigit, texts)) or any(map(_CODE.match, texts)):
        return None
    plain = len(given) - len(texts)
    unit, units, told = _units(texts, plain)
    forms = tuple(f"{form} {unit}" for form in NUMBER_FORMATS) if unit else NUMBER_FORMATS
    found = [form for form in forms if reads(given, form, units)]
    if not found:
        return None
    told = "; ".join(filter(None, (told, _signs(texts, plain))))
    if len(found) == 2 and any(sign in text for text in texts for sign in ",."):
        # `1,234` alone: each reading has all of them; what groups is followed by three digits, always
        form = forms[not any("," in text for text in texts)]
        text = next(text for text in texts if "," in text or "." in text)
        read = local_number(text, form, tuple(units.items()))
        other = other_format(form)
        either = f"{shown(text)} is taken for {read:.10g}; format = {other!r} if it is not"
        return Written(form, either, told, units)
    return Written(found[0], "", told, units)


def other_format(form: str) -> str:
    """The other way of grouping and of decimals, with the same unit."""
    base, unit = parted_format(form)
    return f"{NUMBER_FORMATS[base == NUMBER_FORMATS[0]]} {unit}".strip()


def same_unit(form: str, other: str) -> str:
    """A format with the unit of another."""
    return f"{parted_format(form)[0]} {parted_format(other)[1]}".strip()


def _units(texts: Sequence[str], plain: int) -> tuple[str, Mapping[str, float], str]:
    """The unit of most numbers, empty for none; how many of it one of each other unit is; and what to tell of them."""
    counts = Counter(map(unit_of, texts)) + Counter({"": plain})
    unit, times = counts.most_common(1)[0]
    if len(counts) == 1:
        return unit, {}, ""
    unit = base_of(counts, unit or (counts - Counter({"": times})).most_common(1)[0][0])
    named = [one for one, _ in counts.most_common() if one and one != unit]
    units = in_unit(named, unit) if named else {}
    bare = f"{counts['']:,} have no unit, and are taken for {unit}" if unit and counts[""] else ""
    if units is not None:
        each = ", ".join(f"{counts[one]:,} in {one}, each {units[one]:g} {unit}".rstrip() for one in named)
        return unit, units, "; ".join(filter(None, (f"several units: {each}" if units and unit else "", bare)))
    if counts[unit] + counts[""] * bool(unit) < _SURE * counts.total():
        return "", {}, ""
    more = ", ".join(f"{counts[one]:,} in {one}" for one in named)
    ask = f"units = {{ {named[0]} = … }} says how many {unit} one is"
    return unit, {}, "; ".join(filter(None, (f"{more}: rows with them are refused; {ask}", bare)))


def units_told(given: Sequence[Any]) -> str:
    """What to do about texts that are numbers of several units, of which it is not known how much each is."""
    texts = [one for one in given if isinstance(one, str)]
    counts = Counter(filter(None, map(unit_of, texts)))
    if len(counts) < 2 or sum(counts.values()) < _LIKELY * len(given):
        return ""
    (unit, _), *others = counts.most_common()
    told = ", ".join(one for one, _ in others[:3])
    return (
        f'numbers of several units, {unit} and {told}? They are texts here; kind = "numeric", '
        f'format = "{NUMBER_FORMATS[0]} {unit}", units = {{ {others[0][0]} = … }} says how many {unit} one is'
    )


def _signs(texts: Sequence[str], plain: int) -> str:
    """What to tell of signs that are left out."""
    signs = [set(_SIGN.findall(text)) for text in texts]
    money = sorted(set().union(*signs) - {"%", "‰"})
    percent = sum("%" in found for found in signs)
    found = [f"signs of several currencies are left out: {', '.join(money[:3])}"] if len(money) > 1 else []
    if 0 < percent < len(texts) + plain:
        bare = len(texts) + plain - percent
        found.append(
            f"{percent:,} have a percent sign, which is left out, and {bare:,} have none: is 5% 5 or 0.05 there?"
        )
    return "; ".join(found)


def plain_numbers(texts: Sequence[str]) -> bool:
    """Whether texts are numbers as programs write them, with decimals: whole ones may be codes."""
    return any("." in one for one in texts) and all(_PLAIN.fullmatch(one.strip()) for one in texts)


def format_of_file(columns: Mapping[str, tuple[str, Mapping[str, float], Sequence[Any]]]) -> str:
    """The one format in which the columns are written that have only one reading; empty: there is none, or several.

    `columns`: by name, format and units of a column of numbers and its values that are not missing.
    """
    sure = {
        parted_format(form)[0] for form, units, given in columns.values() if not reads(given, other_format(form), units)
    }
    return sure.pop() if len(sure) == 1 else ""


def reads(given: Sequence[Any], form: str, units: Mapping[str, float]) -> bool:
    """Whether the values are numbers in this format."""
    return _share(given, partial(local_number, form=form, units=tuple(units.items()))) >= _SURE


def maybe_thousands(given: Sequence[Any]) -> bool:
    """Whether plain numbers with a point could be whole ones, of which the point parts the thousands."""
    broken = [one for one in given if isinstance(one, float) and not one.is_integer()]
    return bool(broken) and all((1000 * one).is_integer() and abs(one) < 1000 for one in broken)


def times_written(given: Sequence[Any]) -> Written | None:
    """The pattern of times that are texts, `31.12.2026`; None if most are none."""
    if not all(isinstance(one, str) for one in given) or not _DIGIT.search(given[0]):
        return None
    few = given[:20]
    fitting = [one for one in _PATTERNS if _share(few, partial(local_time, pattern=one)) == 1]
    found = [one for one in fitting if _share(given, partial(local_time, pattern=one)) >= _SURE]
    if not found:
        return None
    first = found[0]
    others = [one for one in found[1:] if local_time(given[0], one) != local_time(given[0], first)]
    others = others or [one for one in found[1:] if _swapped(one, first)]
    return Written(
        first, f"days and months could be the other way round: format = {others[0]!r} then" if others else ""
    )


def digits_written(texts: Sequence[str], named: bool) -> str:
    """The pattern of dates or times that are digits alone, `20261231`; empty: they are none of a likely year.

    `named`: whether the column is called a time. Under any name many dates in order are dates.
    """
    if not named and (len(texts) <= _FEW or any(one > other for one, other in pairwise(texts))):
        return ""
    for length, pattern in _OF_DIGITS.items():
        if all(len(text) == length and text.isdigit() and "1800" <= text < "2200" for text in texts):
            return pattern if _share(texts, partial(local_time, pattern=pattern)) == 1 else ""
    return ""


def looks_like_dates(given: Sequence[Any]) -> bool:
    """Whether most values are dates, in whatever forms."""
    found = [one for one in given if isinstance(one, str) and _DATE.fullmatch(one.strip())]
    return len(found) >= _LIKELY * len(given)


def looks_written(given: Sequence[Any]) -> bool:
    """Whether most values begin as numbers and times do and are mostly digits, whatever their format."""
    texts = [one for one in given if isinstance(one, str) and _BEGINS.match(one)]
    digits = [one for one in texts if unit_of(one) or sum(map(str.isdigit, one)) >= _DIGITS * len(one)]
    return len(digits) >= _LIKELY * len(given)


def is_local_number(written: Written) -> Callable[[Any], bool]:
    """Whether a value is a number written so."""
    return lambda value: _reads(value, partial(local_number, form=written.format, units=tuple(written.units.items())))


def is_local_time(written: Written) -> Callable[[Any], bool]:
    """Whether a value is a time written so."""
    return lambda value: isinstance(value, str) and _reads(value, partial(local_time, pattern=written.format))


def _share(given: Sequence[Any], read: Callable[[str], float]) -> float:
    return sum(_reads(one, read) for one in given) / len(given)


def _reads(value: Any, read: Callable[[str], float]) -> bool:
    if not isinstance(value, str):  # what was a plain number is one in every format
        return isinstance(value, int | float) and not isinstance(value, bool)
    try:
        read(value)
    except (ValueError, OverflowError):
        return False
    return True


def _swapped(one: str, other: str) -> bool:
    return one.replace("%d", "%x").replace("%m", "%d").replace("%x", "%m") == other
