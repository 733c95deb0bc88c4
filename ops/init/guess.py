"""What the columns of a sample are: kinds, and the parts of an event among them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

from thalweg.ops.init.event_time import TIMES, time_of_events, years_in_no_order
from thalweg.ops.init.labels import label_doubt, numbers_beyond_one, says_the_label, task_of_labels
from thalweg.ops.init.local import (
    Written,
    format_of_file,
    is_local_number,
    is_local_time,
    looks_written,
    maybe_thousands,
    numbers_written,
    plain_numbers,
    reads,
    same_unit,
    times_written,
)
from thalweg.ops.init.markers import is_marker, markers_among_texts, markers_in
from thalweg.ops.init.readings import is_number, joined, missing, numbers_of, text_of, whole
from thalweg.ops.init.sample import Sample, shown
from thalweg.ops.run.failed import Failed
from thalweg.proto.rows.column import Column

_LABELS = ("label", "target", "class", "y", "outcome", "truth", "fraud", "churn", "clicked", "click")
_LABEL_STARTS = ("is_", "has_", "was_")
_IDS = re.compile(r"(^|[._])(id|uuid|guid)$|[a-z]Id$")
_UUID = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", re.I)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?")
_BAD = 0.01  # share of values that are no numbers, up to which a column is numeric all the same
_UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_SINCE, _UNTIL = 9e8, 4e9  # Unix seconds of 1998 and 2096: numbers in between are taken for times
_MOST_CLASSES = 100
_MOST_CATEGORIES = 64
_WORDS = 4.0  # mean words above which a column of texts is text
_UNIQUE = 0.98


@dataclass(frozen=True, slots=True)
class Guess:
    """A column: its kind and options, and why."""

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    doubt: str = ""
    """What may be wrong with it, to be told aloud; empty: nothing."""


@dataclass(frozen=True, slots=True)
class Guessed:
    """The parts of an event and the columns of a sample."""

    label: str
    task: str
    """`classification` or `regression`."""
    label_note: str
    label_doubt: str
    """What may be wrong with the label, to be told aloud; empty: nothing."""
    label_range: str = ""
    """Of numbers beyond 0 to 1, such as `1 to 5`."""
    id: str = ""
    time: str = ""
    time_unit: str = "auto"
    time_note: str = ""
    """Why no column is the time, if one looks like it."""
    key: str = ""
    weight: str = ""
    columns: Mapping[str, Guess] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Columns that are not used, with the reason."""


def guess(sample: Sample, label: str | None = None, ignore: Sequence[str] = ()) -> Guessed:
    """What the columns of a sample are.

    Args:
        sample: The rows.
        label: The label's column, if known.
        ignore: Columns that are not to be used.

    Raises:
        Failed: There is no such label, or none can be guessed, or no column is left.
    """
    values = {name: [row.get(name) for row in sample.rows] for name in sample.names}
    if label is None:
        label = _label_of(sample, values)
    elif label not in values:
        raise Failed(f"--label {label!r}: no such column; there are: {', '.join(sample.names)}")
    for name in ignore:
        if name not in values:
            near = get_close_matches(name, values, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise Failed(f"--ignore {name!r}: no such column; {hint}there are: {', '.join(sample.names)}")
    task, note = task_of_labels(values[label])
    attributes = (
        {} if not sample.own_form else {name: name for name in ("id", "time", "key", "weight") if name in values}
    )
    columns: dict[str, Guess] = {}
    left_out: dict[str, str] = dict.fromkeys(ignore, "ignored on request")
    id_, time, unit = attributes.get("id", ""), attributes.get("time", ""), "auto"
    for name, column in values.items():
        if name == label or name in left_out or name in attributes:
            continue
        given = [value for value in column if not missing(value)]
        if not given:
            left_out[name] = "always empty"
        elif not name.strip():
            left_out[name] = "it has no name to ask for it by"
        elif _is_id(name, given):
            left_out[name] = "a different value in each row"
            id_ = id_ or name
        elif _counts(given):
            left_out[name] = "counts the rows"
        else:
            one = kind_of(name, given, len(column))
            if one is None:
                left_out[name] = f"neither numbers nor texts, such as {shown(given[0])}"
                continue
            columns[name] = _with_markers(one, column)
    _agree(columns, values)
    for name, one in columns.items():
        if says_the_label(values[name], values[label]):
            doubt = f"each value stands for one label: known only with the label? --ignore {name} then"
            columns[name] = replace(one, doubt=joined(one.doubt, doubt))
    time_note = ""
    if not sample.own_form:
        times = {
            name: (
                Column(name=name, kind="datetime", unit=one.options.get("unit", "auto")),
                [value for value in values[name] if not missing(value)],
            )
            for name, one in columns.items()
            if one.kind == "datetime" and "format" not in one.options
        }
        time, time_note = time_of_events(times, len(sample.rows))
        local = [name for name, one in columns.items() if one.kind == "datetime" and "format" in one.options]
        if local and not time:
            time_note = joined(time_note, f"{local[0]} is none in RFC 3339")
        unit = columns[time].options.get("unit", "auto") if time else unit
        for name, (of_time, present) in times.items():
            if name != time and (years := years_in_no_order(of_time, present)) >= 3:
                one = columns[name]
                told = joined(one.note, f"spread over {years:.0f} years, so that its date counts, too: trend")
                columns[name] = replace(one, options={**one.options, "trend": True}, note=told)
    if not columns:
        raise Failed(f"no column is left to learn from; left out: {', '.join(left_out) or 'none'}")
    return Guessed(
        label=label,
        task=task,
        label_note=note,
        label_doubt=label_doubt(values[label]),
        label_range=numbers_beyond_one(values[label]),
        id=id_,
        time=time,
        time_unit=unit,
        time_note=time_note,
        key=attributes.get("key", ""),
        weight=attributes.get("weight", ""),
        columns=columns,
        left_out=left_out,
    )


def _agree(columns: dict[str, Guess], values: Mapping[str, Sequence[Any]]) -> None:
    """Columns of numbers that could be read in two ways are read as those of the file that have only one reading."""
    present = {
        name: [value for value in values[name] if not missing(value) and not is_marker(value)]
        for name, one in columns.items()
        if one.kind == "numeric"
    }
    local: dict[str, tuple[str, Sequence[Any]]] = {
        name: (columns[name].options["format"], present[name]) for name in present if "format" in columns[name].options
    }
    if not (form := format_of_file(local)):
        return
    for name, given in present.items():
        one = columns[name]
        if name in local and reads(given, alike := same_unit(form, local[name][0])):
            columns[name] = replace(one, options={**one.options, "format": alike}, doubt="")
        elif name not in local and form == "1.234,5" and maybe_thousands(given):
            other = next(other for other, (found, _) in local.items() if same_unit(form, found) == found)
            doubt = f"is its point one of thousands, as that of {other}? format = {form!r} then"
            columns[name] = replace(one, doubt=doubt)


def kind_of(name: str, given: Sequence[Any], rows: int) -> Guess | None:
    """The kind of a column.

    Args:
        name: Its name.
        given: Its values that are not missing, at least one.
        rows: Rows of the sample.

    Returns:
        None for values of no kind.
    """
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
    if truths in _TRUTHS:
        return Guess("boolean", {}, joined(" and ".join(map(shown, sorted(different))), gone))
    if plain_numbers(texts) and all(isinstance(value, str) for value in given):
        return Guess("numeric", {}, joined(f"such as {shown(given[0])}", gone))
    numbers = numbers_of(given)
    if numbers is not None:
        unit = _unit(name, numbers)
        if unit:
            return Guess("datetime", {"unit": unit}, joined(f"times in {unit}", gone))
        low, high = min(numbers), max(numbers)
        few = len(set(numbers))
        hint = (
            f"{few} different whole numbers: categorical, if they are codes" if 1 < few <= 20 and whole(numbers) else ""
        )
        return Guess("numeric", {}, joined(f"{low:g} to {high:g}" if low < high else f"always {low:g}", hint, gone))
    most = [value for value in given if numbers_of([value]) is not None]
    if len(given) - len(most) <= _BAD * len(given):
        odd = next(value for value in given if numbers_of([value]) is None)
        bad = f"{len(given) - len(most)} are no numbers, such as {shown(odd)}: rows with them are refused"
        return Guess("numeric", {}, joined(bad, gone))
    if all(_RFC3339.fullmatch(text) for text in texts):
        return Guess("datetime", {}, joined(f"such as {shown(given[0])}", gone))
    if len(different) > _MOST_CATEGORIES // 2 and sum(len(text.split()) for text in texts) / len(texts) >= _WORDS:
        return Guess("text", {}, gone)
    often = ", ".join(shown(text) for text, _ in different.most_common(3))
    note = joined(f"{len(different)} different, most often {often}", gone)
    if len(different) <= _MOST_CATEGORIES:
        return Guess("categorical", {"max_categories": _room(len(different))}, note)
    return Guess("hashed", {"buckets": 64}, note, _doubt_of_texts(given, most))


def _doubt_of_texts(given: Sequence[Any], numbers: Sequence[Any]) -> str:
    """What many different texts, some of which are plain `numbers`, could be beside texts; empty: nothing."""
    if 2 * len(numbers) >= len(given):
        odd = next(value for value in given if numbers_of([value]) is None)
        share, named = f"{len(numbers) / len(given):.0%} are numbers", f"missing_values = [{shown(odd)}]"
        return f'{share} and some are none, such as {shown(odd)}: kind = "numeric" with {named}, if these are missing'
    return "numbers or times in a form that is not known? They are texts here" if looks_written(given) else ""


def _written(
    kind: str, written: Written, given: Sequence[Any], rows: int, is_local: Callable[[str], Callable[[Any], bool]]
) -> Guess | None:
    """A column of numbers or times in a format of their own; None if other texts among them are no markers."""
    is_value = is_local(written.format)
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
    return Guess(kind, {"format": written.format, **marked}, note, written.doubt)


def _with_markers(one: Guess, column: Sequence[Any]) -> Guess:
    """With the markers of missing values among categories and texts."""
    if one.kind not in ("categorical", "hashed", "text") or not (markers := markers_among_texts(column)):
        return one
    marked = {"missing_values": list(markers)}
    return replace(one, options={**one.options, **marked}, note=joined(one.note, "some of them marked as missing"))


def _is_time(value: Any) -> bool:
    return isinstance(value, str) and bool(_RFC3339.fullmatch(value))


def _is_truth(value: Any) -> bool:
    return text_of(value).lower() in ("true", "false")


_WRITTEN: tuple[tuple[str, Callable[[Sequence[Any]], Written | None], Callable[[str], Callable[[Any], bool]]], ...] = (
    ("numeric", numbers_written, is_local_number),
    ("datetime", times_written, is_local_time),
)
_TRUTHS: tuple[set[str], ...] = ({"t", "f"}, {"yes", "no"}, {"y", "n"}, {"on", "off"})
_OF_KINDS = (is_number, _is_time, _is_truth)
"""Whether a value is of a kind among whose values any other text marks a missing one."""


def _label_of(sample: Sample, values: Mapping[str, Sequence[Any]]) -> str:
    """The column that looks most like a label."""
    by_name = {name.rpartition(".")[2].lower(): name for name in reversed(sample.names)}
    for name in _LABELS:
        if name in by_name:
            return by_name[name]
    starts = [name for short, name in by_name.items() if short.startswith(_LABEL_STARTS)]
    if len(starts) == 1:
        return starts[0]
    if not sample.names:
        raise Failed("the records have no fields")
    last = sample.names[-1]
    given = [text_of(value) for value in values[last] if not missing(value)]
    if not starts and 2 <= len(set(given)) <= min(_MOST_CLASSES, max(2, len(given) // 10)):
        return last
    among = starts or sample.names
    raise Failed(f"no column looks like the label; name it with --label; there are: {', '.join(among)}")


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


_NUMBERED = re.compile(r"([^\d\s.,+-][^\d\s]{0,11})(\d{3,})")
_ENOUGH = 50  # rows


def _is_id(name: str, given: Sequence[Any]) -> bool:
    """Whether a column only tells rows apart."""
    texts = list(map(text_of, given))
    codes = all(isinstance(value, (int, str)) and not isinstance(value, bool) for value in given)
    different = len(set(texts))
    if not codes or len(texts) < 2 or different < _UNIQUE * len(texts):
        return False
    if _IDS.search(name) or all(map(_UUID.fullmatch, texts)):
        return True
    return different == len(texts) and _numbered(texts)  # one that came twice is an article, and no row is lost


def _numbered(texts: Sequence[str]) -> bool:
    """Whether all are one text and a number, such as R-00017: of many rows, the numbers of invoices and the like."""
    found = [_NUMBERED.fullmatch(text) for text in texts] if len(texts) >= _ENOUGH else []
    return bool(found) and all(found) and len({one[1] for one in found if one}) == 1


def _counts(given: Sequence[Any]) -> bool:
    """Whether a column is the number of its row."""
    if len(given) < 3 or not all(isinstance(value, int) and not isinstance(value, bool) for value in given):
        return False
    return all(after - before == 1 for before, after in pairwise(given))


def _unit(name: str, numbers: Sequence[float]) -> str:
    """The unit in which numbers are Unix times of this age; empty if they are none."""
    if not TIMES.search(name):
        return ""
    for unit, factor in _UNITS.items():
        if all(_SINCE <= number / factor < _UNTIL for number in numbers):
            return unit
    return ""


def _room(different: int) -> int:
    """Categories to provide for: half as many again as were seen, as a power of two."""
    return max(8, 1 << (different + different // 2 - 1).bit_length())
