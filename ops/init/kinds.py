"""The kind of a column of a sample, by its values."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from thalweg.ops.init.codes import are_codes
from thalweg.ops.init.event_time import TIMES, unit_of_times
from thalweg.ops.init.of_ids import is_code
from thalweg.ops.init.readings import is_number, joined, numbers_of, text_of, whole
from thalweg.ops.init.sample import shown
from thalweg.ops.init.written.local import (
    Written,
    digits_written,
    is_local_number,
    is_local_time,
    looks_like_dates,
    looks_written,
    numbers_written,
    plain_numbers,
    times_written,
    units_told,
)
from thalweg.ops.init.written.markers import is_marker, markers_in

_ZONE = r"([Zz]|[+-]\d\d(:?\d\d)?)?"
_ISO = re.compile(
    rf"\d{{4}}-\d\d-\d\d([Tt ]\d\d(:\d\d(:\d\d([.,]\d+)?)?)?{_ZONE})?|\d{{8}}[Tt]\d{{4}}(\d\d([.,]\d+)?)?{_ZONE}"
)
"""Times of ISO 8601 that are read without a format."""
_BAD = 0.01  # share of values that are no numbers, up to which a column is numeric all the same
_CODE = re.compile(r"0\d+")
_EXACT = 2.0**53
_MOST_CATEGORIES = 64
_WORDS = 4.0  # mean words above which a column of texts is text


@dataclass(frozen=True, slots=True)
class Guess:
    """A column: its kind and options, and why."""

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    doubt: str = ""
    """What may be wrong with it, to be told aloud; empty: nothing."""
    ambiguity: str = ""
    """How else its numbers could be read, to be told aloud unless other columns of the file say; empty: in no way."""


def kind_of(name: str, given: Sequence[Any], rows: int) -> Guess | None:
    """The kind of a column.

    Args:
        name: Its name.
        given: Its values that are not missing, at least one.
        rows: Rows of the sample.

    Returns:
        None for values of no kind.
    """
    given = list(map(_named, given))
    likely = [value for value in given if not is_marker(value)] or given
    for kind, find, is_local in _WRITTEN:
        if (written := find(likely)) is not None and (one := _written(kind, written, given, rows, is_local)):
            return one
    for is_value in _OF_KINDS:
        if (markers := markers_in(given, is_value)) and (
            one := kind_of(name, [value for value in given if is_value(value)], rows)
        ):
            marked = {"missing_values": list(markers)}
            return replace(one, options={**one.options, **marked}, note=joined(one.note, "some of them marked so"))
    gone = f"{1 - len(given) / rows:.0%} missing" if len(given) < rows else ""
    if all(isinstance(value, list) for value in given):
        return _list(given, gone)
    if not all(isinstance(value, str | int | float) for value in given):
        return None
    texts = [text_of(value) for value in given]
    different = Counter(texts)
    truths = {text.lower() for text in different}
    if truths <= {"true", "false"}:
        return Guess("boolean", {}, gone)
    mixed = truths <= {"true", "false", "1", "0"} and any(isinstance(value, bool) for value in given)
    if mixed or truths in _TRUTHS:
        return Guess("boolean", {}, joined(" and ".join(map(shown, sorted(different))), gone))
    if plain_numbers(texts) and all(isinstance(value, str) for value in given):
        return Guess("numeric", {}, joined(f"such as {shown(given[0])}", gone))
    numbers = numbers_of(given)
    if pattern := digits_written(texts, bool(TIMES.search(name))):
        return Guess("datetime", {"format": pattern}, joined(f"such as {shown(given[0])}", gone))
    if numbers is not None and whole(numbers) and is_code(name, numbers) and len(different) > 2:
        return _categories(given, different, gone)
    if numbers is not None and are_codes(numbers):
        found = _categories(given, different, gone)
        return replace(found, note=joined("codes, as they leave gaps; numeric, if they are amounts", found.note))
    if numbers is not None:
        unit = unit_of_times(name, numbers)
        if unit:
            return Guess("datetime", {"unit": unit}, joined(f"times in {unit}", gone))
        low, high = min(numbers), max(numbers)
        few = len(set(numbers))
        huge = max(abs(low), abs(high)) > _EXACT and whole(numbers)
        doubt = 'whole numbers beyond 2^53, of which the last digits are lost: kind = "hashed", if they are ids'
        hint = (
            f"{few} different whole numbers: categorical, if they are codes" if 1 < few <= 20 and whole(numbers) else ""
        )
        between = f"{low:g} to {high:g}" if low < high else f"always {low:g}"
        return Guess("numeric", {}, joined(between, hint, gone), doubt if huge else "")
    most = [value for value in given if numbers_of([value]) is not None]
    if len(given) - len(most) <= _BAD * len(given):
        odd = next(value for value in given if numbers_of([value]) is None)
        bad = f"{len(given) - len(most)} are no numbers, such as {shown(odd)}: rows with them are refused"
        return Guess("numeric", {}, gone, bad)
    if all(_ISO.fullmatch(text) for text in texts):
        return Guess("datetime", {}, joined(f"such as {shown(given[0])}", gone))
    if len(different) > _MOST_CATEGORIES // 2 and sum(len(text.split()) for text in texts) / len(texts) >= _WORDS:
        return Guess("text", {}, gone)
    if all(map(_is_object, texts)):
        doubt = "texts of JSON, read as words: write what is in them as fields of their own, and each is a column"
        return Guess("text", {}, gone, doubt)
    found = _categories(given, different, gone)
    if looks_like_dates(given):
        forms = _unlike(given)
        what = "dates in several forms" if len(forms) > 1 else "dates in a form that is not known"
        return replace(found, doubt=f"{what}, such as {' and '.join(map(shown, forms))}? They are texts here")
    return replace(found, doubt=_doubt_of_texts(given, most)) if found.kind == "hashed" else found


def _is_object(text: str) -> bool:
    try:
        return text.lstrip().startswith("{") and isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _unlike(given: Sequence[Any]) -> list[Any]:
    """One value of each shape, two at most."""
    shapes = {re.sub(r"\d+", "0", text_of(value)): value for value in given}
    return list(shapes.values())[:2]


def _categories(given: Sequence[Any], different: Counter[str], gone: str) -> Guess:
    often = ", ".join(shown(text) for text, _ in different.most_common(3))
    told = f"{len(different)} different, most often {often}" if len(different) > 1 else f"always {often} in the sample"
    note = joined(told, gone)
    if len(different) <= _MOST_CATEGORIES:
        return Guess("categorical", {"max_categories": _room(len(different))}, note)
    return Guess("hashed", {"buckets": 64}, note)


def _named(value: Any) -> Any:
    """An infinity as the text that marks it."""
    infinite = isinstance(value, float) and math.isinf(value)
    return ("inf" if value > 0 else "-inf") if infinite else value


def _doubt_of_texts(given: Sequence[Any], numbers: Sequence[Any]) -> str:
    """What many different texts, some of which are plain `numbers`, could be beside texts; empty: nothing."""
    if any(isinstance(value, str) and _CODE.fullmatch(value.strip()) for value in given):
        return ""  # of places, articles, telephones
    if 2 * len(numbers) >= len(given):
        odd = next(value for value in given if numbers_of([value]) is None)
        if isinstance(odd, bool):
            share = f"{len(numbers) / len(given):.0%} are numbers"
            return f'{share}: kind = "numeric", if rows with {shown(odd)} may be refused'
        share, named = f"{len(numbers) / len(given):.0%} are numbers", f"missing_values = [{shown(odd)}]"
        return f'{share} and some are none, such as {shown(odd)}: kind = "numeric" with {named}, if these are missing'
    unknown = "numbers or times in a form that is not known? They are texts here" if looks_written(given) else ""
    return units_told(given) or unknown


def _written(
    kind: str, written: Written, given: Sequence[Any], rows: int, is_local: Callable[[Written], Callable[[Any], bool]]
) -> Guess | None:
    """A column of numbers or times in a format of their own; None if other texts among them are no markers."""
    is_value = is_local(written)
    others = [value for value in given if not is_value(value)]
    markers = markers_in(given, is_value)
    if others and not markers and len(others) > _BAD * len(given):
        return None
    odd = [f"{len(others)} are none, such as {shown(one)}: rows with them are refused" for one in others[:1]]
    marked = {"missing_values": list(markers)} if markers else {}
    note = joined(
        f"such as {shown(next(value for value in given if isinstance(value, str) and is_value(value)))}",
        "some of them marked as missing" if markers else "".join(odd),
        f"{1 - len(given) / rows:.0%} missing" if len(given) < rows else "",
    )
    units = {"units": dict(written.units)} if written.units else {}
    options = {"format": written.format, **units, **marked}
    if kind == "datetime":  # of which no other column says how it is written
        return Guess(kind, options, note, written.doubt)
    return Guess(kind, options, note, written.told, written.doubt)


def _is_time(value: Any) -> bool:
    return isinstance(value, str) and bool(_ISO.fullmatch(value))


def _is_truth(value: Any) -> bool:
    return text_of(value).lower() in ("true", "false")


_WRITTEN: tuple[
    tuple[str, Callable[[Sequence[Any]], Written | None], Callable[[Written], Callable[[Any], bool]]], ...
] = (
    ("numeric", numbers_written, is_local_number),
    ("datetime", times_written, is_local_time),
)
_TRUTHS: tuple[set[str], ...] = ({"t", "f"}, {"yes", "no"}, {"y", "n"}, {"on", "off"})
_OF_KINDS = (is_number, _is_time, _is_truth)
"""Whether a value is of a kind among whose values any other text marks a missing one."""


def _list(given: Sequence[Sequence[Any]], gone: str) -> Guess | None:
    parts = [part for value in given for part in value]
    if all(isinstance(part, (int, float)) and not isinstance(part, bool) for part in parts):
        lengths = {len(value) for value in given}
        if len(lengths) == 1 and parts:
            return Guess("list", {"length": lengths.pop()}, gone)
        return None
    if all(isinstance(part, str) for part in parts):
        return Guess("list", {"buckets": 64}, gone)
    return None


def _room(different: int) -> int:
    """Categories to provide for: half as many again as were seen, as a power of two."""
    return max(8, 1 << (different + different // 2 - 1).bit_length())
