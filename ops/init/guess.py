"""What the columns of a sample are: kinds, and the parts of an event among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

from thalweg.ops.init.event_time import ORDERED, TIMES, time_of_events, years_in_no_order
from thalweg.ops.init.ids import tells_apart
from thalweg.ops.init.kinds import Guess, kind_of
from thalweg.ops.init.label_name import label_name, rating, type_of_events
from thalweg.ops.init.labels import (
    are_likings,
    doubt_of_leak,
    label_doubt,
    numbers_beyond_one,
    task_of_labels,
    zero_and_one,
)
from thalweg.ops.init.of_ids import says_id
from thalweg.ops.init.readings import joined, missing, missing_label, numbers_of, text_of
from thalweg.ops.init.sample import Sample, shown
from thalweg.ops.init.written.local import format_of_file, maybe_thousands, reads, same_unit
from thalweg.ops.init.written.markers import is_marker, markers_among_texts
from thalweg.ops.run.failed import Failed
from thalweg.proto.rows.column import Column
from thalweg.proto.rows.fields import NAMES, can_be_found

_OFTEN = 2
"""Rows of each value, on average, from which on ids of users and items come again."""


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
    envelope: str = ""
    """What is around the rows in their records, for a comment; empty: nothing."""
    classes: int = 0
    """Different labels in the sample."""
    likings: bool = False
    """Whether the labels are numbers from 0 to 1, as clicks are."""
    two: tuple[str, ...] = ()
    """Names of the labels 0 and 1, where there are two labels that are no such numbers."""
    id: str = ""
    time: str = ""
    time_unit: str = "auto"
    time_note: str = ""
    """Why no column is the time, if one looks like it."""
    time_doubt: str = ""
    """What is to be told aloud of the order of rows; empty: nothing."""
    key: str = ""
    weight: str = ""
    columns: Mapping[str, Guess] = field(default_factory=dict)
    again: frozenset[str] = frozenset()
    """Columns whose values come several times, as those of users and items do."""
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
    doubt = ""
    if label is None:
        label, doubt = label_name(sample.names, values)
    elif label not in values:
        raise Failed(f"--label {label!r}: no such column; there are: {', '.join(sample.names)}")
    for name in ignore:
        if name not in values:
            near = get_close_matches(name, values, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise Failed(f"--ignore {name!r}: no such column; {hint}there are: {', '.join(sample.names)}")
    task, note = task_of_labels(values[label])
    if label == type_of_events(sample.names, values):
        task = "classification"
    elif label == rating(sample.names, values) and numbers_beyond_one(values[label]):
        task, note = "regression", joined("ratings", note)
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
        elif not can_be_found(name):
            left_out[name] = f"expected {NAMES}"
        elif apart := tells_apart(name, given):
            left_out[name] = apart.why
            id_ = id_ or name if apart.is_id and not sample.changes else id_
        elif sample.changes and says_id(name):
            left_out[name] = "an id, of which one comes at each change"
        else:
            one = kind_of(name, given, len(column))
            if one is None:
                left_out[name] = f"neither numbers nor texts, such as {shown(given[0])}"
                continue
            columns[name] = _with_markers(one, column)
    _agree(columns, values)
    columns = {name: replace(one, doubt=joined(one.ambiguity, one.doubt)) for name, one in columns.items()}
    for name, one in columns.items():
        if leak := doubt_of_leak(name, values[name], values[label]):
            columns[name] = replace(one, doubt=joined(one.doubt, leak))
    time_note = time_doubt = ""
    if not sample.own_form:
        times = {
            name: (
                Column(name=name, kind="datetime", unit=one.options.get("unit", "auto")),
                [value for value in values[name] if not missing(value)],
            )
            for name, one in columns.items()
            if one.kind == "datetime" and "format" not in one.options
        }
        time, time_note, time_doubt = time_of_events(times, len(sample.rows))
        local = [name for name, one in columns.items() if one.kind == "datetime" and "format" in one.options]
        if local and not time:
            time_note = joined(time_note, f"{local[0]} is none in RFC 3339")
        unit = columns[time].options.get("unit", "auto") if time else unit
        for name, (of_time, present) in times.items():
            if name != time and (years := years_in_no_order(of_time, present)) >= 3:
                one = columns[name]
                told = joined(one.note, f"spread over {years:.0f} years, so that its date counts, too: trend")
                columns[name] = replace(one, options={**one.options, "trend": True}, note=told)
    if not time and not sample.own_form and label == type_of_events(sample.names, values):
        time = next((name for name in columns if TIMES.search(name) and _counts_up(values[name])), "")
        unit = "s" if time else unit
    if not columns:
        raise Failed(f"no column is left to learn from; left out: {', '.join(left_out) or 'none'}")
    return Guessed(
        label=label,
        task=task,
        label_note=note,
        label_doubt=joined(doubt, label_doubt(values[label])),
        label_range=numbers_beyond_one(values[label]),
        envelope=sample.envelope,
        classes=len({text_of(value) for value in values[label] if not missing_label(value)}),
        likings=are_likings(values[label]),
        two=zero_and_one(values[label]),
        id=id_,
        time=time,
        time_unit=unit,
        time_note=time_note,
        time_doubt=time_doubt,
        key=attributes.get("key", ""),
        weight=attributes.get("weight", ""),
        columns=columns,
        again=frozenset(name for name in columns if _comes_again(values[name])),
        left_out=left_out,
    )


def _agree(columns: dict[str, Guess], values: Mapping[str, Sequence[Any]]) -> None:
    """Columns of numbers that could be read in two ways are read as those of the file that have only one reading."""
    present = {
        name: [value for value in values[name] if not missing(value) and not is_marker(value)]
        for name, one in columns.items()
        if one.kind == "numeric"
    }
    local: dict[str, tuple[str, Mapping[str, float], Sequence[Any]]] = {
        name: (columns[name].options["format"], columns[name].options.get("units", {}), given)
        for name, given in present.items()
        if "format" in columns[name].options
    }
    if not (form := format_of_file(local)):
        return
    for name, given in present.items():
        one = columns[name]
        if name in local and reads(given, alike := same_unit(form, local[name][0]), local[name][1]):
            columns[name] = replace(one, options={**one.options, "format": alike}, ambiguity="")
        elif name not in local and form == "1.234,5" and maybe_thousands(given):
            other = next(other for other, (found, _, _) in local.items() if same_unit(form, found) == found)
            doubt = f"is its point one of thousands, as that of {other}? format = {form!r} then"
            columns[name] = replace(one, doubt=doubt)


def _with_markers(one: Guess, column: Sequence[Any]) -> Guess:
    """With the markers of missing values among categories and texts."""
    if one.kind not in ("categorical", "hashed", "text") or not (markers := markers_among_texts(column)):
        return one
    marked = {"missing_values": list(markers)}
    return replace(one, options={**one.options, **marked}, note=joined(one.note, "some of them marked as missing"))


def _comes_again(column: Sequence[Any]) -> bool:
    given = [text_of(value) for value in column if not missing(value)]
    return len(given) >= _OFTEN * len(set(given))


def _counts_up(column: Sequence[Any]) -> bool:
    """Whether numbers are times since a beginning: none is before it, and most are no earlier than the one before."""
    numbers = numbers_of(column) or [-1.0]
    rising = sum(after >= before for before, after in pairwise(numbers))
    return min(numbers) >= 0 and rising >= ORDERED * (len(numbers) - 1)
