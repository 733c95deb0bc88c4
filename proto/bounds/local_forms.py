"""Numbers and times as people of a country write them, such as `1.234,50 €`, `12 %` and `31.12.2026`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache

NUMBER_FORMATS = ("1,234.5", "1.234,5")
"""How numbers are written: what groups thousands, and what comes before the decimals. Spaces and apostrophes group in
both, and a currency or a percent sign beside the number is left out. A unit may follow, `1,234.5 kg`: it is left out
where it is written, and another one is no number, unless it is told how much it is."""

_CODES = (
    "AED|AUD|BGN|BRL|CAD|CHF|CLP|CNY|COP|CZK|DKK|EUR|GBP|HKD|HUF|IDR|ILS|INR|JPY|KRW|MXN|MYR|NOK|NZD|PHP|PLN|RON|RUB|SAR"
    "|SEK|SGD|THB|TRY|TWD|UAH|USD|VND|ZAR"
)
SIGNS = rf"(?:[%‰$€£¥₹₽₩₺₴₪฿₫]|[A-Z]{{1,2}}\$|{_CODES}|kr\.?|zł|Kč|Fr\.?)"
"""The signs that are left out, as a regular expression."""
_SPACE = r"[ \u00a0\u2009\u202f]"
_SHAPE = (
    rf"(?P<minus>[-+−]?){_SPACE}?(?:{SIGNS}{_SPACE}?)?(?P<inner>[-+−]?)"
    r"(?P<whole>[1-9]\d{0,2}(?:[GROUPS]\d{3})+INDIA|\d*)(?:DECIMAL(?P<part>\d*))?"
    rf"(?:{_SPACE}?{SIGNS})?"
)


_UNIT = re.compile(r"[^\W\d_][^\s\d]{0,11}[²³]?|°[A-Z]?|[\"'′″µ]\w{0,3}")
_WITH_UNIT = re.compile(rf"[-+−(]?{_SPACE}?\d(?:.*[\d.,])?{_SPACE}?({_UNIT.pattern})")


def _shape(groups: str, decimal: str) -> re.Pattern[str]:
    inside = re.escape(groups) + "'’ \u00a0\u2009\u202f"
    twos = r"|[1-9]\d?(?:,\d\d)+,\d{3}" if groups == "," else ""  # as in India: 12,34,567
    shape = _SHAPE.replace("GROUPS", inside).replace("INDIA", twos).replace("DECIMAL", re.escape(decimal))
    return re.compile(shape)


_ALIKE = (2026, 2037)
"""Years whose days have the same weekdays and numbers: what is written alike in both says no year."""
_SHAPES = {"1,234.5": _shape(",", "."), "1.234,5": _shape(".", ",")}


def parted_format(form: str) -> tuple[str, str]:
    """The one of `NUMBER_FORMATS` that a format is, and its unit; empty: none. Raises ValueError if it is no format."""
    for one in NUMBER_FORMATS:
        if form.startswith(one) and (form == one or (form[len(one)] == " " and _UNIT.fullmatch(form[len(one) + 1 :]))):
            return one, form[len(one) + 1 :]
    raise ValueError(f"no format of numbers: {form!r:.40}")


def unit_of(text: str) -> str:
    """The unit after the number that a text begins with; empty: there is none."""
    found = _WITH_UNIT.fullmatch(text.strip())
    return found[1] if found and not re.fullmatch(SIGNS, found[1]) else ""


def local_number(text: str, form: str, units: Sequence[tuple[str, float]] = ()) -> float:
    """The number that a text is in a format: `12 %` is 12, `($5)` is -5 as in accounts.

    Args:
        text: The text.
        form: Its format, with its unit if there is one.
        units: Other units that may follow, and how many of the format's unit one is.

    Raises:
        ValueError: It is none.
    """
    base, unit = parted_format(form)
    bare, factor = text.strip(), 1.0
    if units and (other := unit_of(bare)) != unit:
        factor = dict(units).get(other, 1.0)
        unit = other if other in dict(units) else unit
    bare = bare.removesuffix(unit).rstrip() if unit else bare
    if in_brackets := bare.startswith("(") and bare.endswith(")"):
        bare = bare[1:-1].strip()
    found = _SHAPES[base].fullmatch(bare)
    signs = [] if found is None else list(filter(None, (found["minus"], found["inner"])))
    if found is None or not (found["whole"] or found["part"]) or len(signs) + in_brackets > 1:
        raise ValueError(f"no number such as {form}: {text!r:.40}")
    whole = "".join(filter(str.isdigit, found["whole"]))
    value = float(f"{whole or 0}.{found['part'] or 0}")
    value = value if factor == 1.0 else float(f"{value * factor:.15g}")  # 121 g are 0.121 kg, as if written so
    return -value if in_brackets or signs in (["-"], ["−"]) else value


def local_time(text: str, pattern: str) -> float:
    """Unix seconds of a time in a pattern of `strptime`, in UTC unless it has a zone. Raises ValueError."""
    return _reader(pattern)(text.strip())


@lru_cache(maxsize=64)
def _reader(pattern: str) -> Callable[[str], float]:
    @lru_cache(maxsize=4096)  # dates repeat, and reading one takes ten microseconds
    def read(text: str) -> float:
        found = datetime.strptime(text, pattern)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()

    return read


def pattern_fault(pattern: str) -> str | None:
    """Why a pattern cannot be one of times; None if it can."""
    try:
        written, other = (datetime(year, 12, 31, 13, 45, 59, tzinfo=UTC).strftime(pattern) for year in _ALIKE)
        # a day is read with a year alone: since Python 3.13 there is a warning
        year = "" if written != other else " %Y"
        read = datetime.strptime(written + year.replace("%Y", str(_ALIKE[0])), pattern + year)
    except ValueError as error:
        return str(error)
    except re.error:
        return "a part of it stands twice"
    return None if read.year == _ALIKE[0] and not year else "it says no year"
