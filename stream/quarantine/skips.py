"""Leaving events out of a block, and naming them for the journal and the dead letters."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from thalweg.proto.event import Decoded
from thalweg.proto.records import Partition, Records
from thalweg.proto.rejected import Reason, Rejected
from thalweg.stream.journal.entries import Skip

LEARNER_ERROR: Reason = "learner_error"


def without_records(run: Records, skipped: Sequence[Skip]) -> Records:
    """The records of a run that are not skipped as a whole."""
    whole = {one.offset for one in skipped if one.row is None and one.partition == run.partition}
    if not whole:
        return run
    return _records(run, [row for row, offset in enumerate(run.offsets) if offset not in whole])


def without_events(run: Records, part: Decoded, skipped: Sequence[Skip]) -> Decoded:
    """The decoded events of a run that are not skipped."""
    skips = {(one.offset, one.row) for one in skipped if one.row is not None and one.partition == run.partition}
    if not skips:
        return part
    return keep(part, [row for row, place in enumerate(_places(run, part)) if place not in skips])


def keep(part: Decoded, rows: Sequence[int]) -> Decoded:
    """The decoded events at these rows, in rising order."""
    if len(rows) == len(part.batch):
        return part
    return replace(part, batch=part.batch.take(np.array(rows, dtype=np.int64)))


def event_skips(run: Records, part: Decoded, causes: Mapping[int, str]) -> Iterator[Skip]:
    """Names the decoded events at these rows, with the cause of each."""
    places = _places(run, part) if causes else []
    for row, cause in sorted(causes.items()):
        offset, index = places[row]
        yield Skip(run.partition, offset, index, cause)


def letters(run: Records, skipped: Sequence[Skip], sent: Collection[tuple[Partition, int]] = ()) -> list[Rejected]:
    """The dead letters of a run's skipped events, one for each record that is not among those `sent`."""
    ours = [one for one in skipped if one.partition == run.partition]
    rows: dict[int, list[int]] = {}
    causes: dict[int, str] = {}
    for one in ours:
        causes.setdefault(one.offset, one.cause)
        rows.setdefault(one.offset, []).extend([] if one.row is None else [one.row])
    return [
        Rejected(row, LEARNER_ERROR, causes[offset], tuple(rows[offset]))
        for row, offset in enumerate(run.offsets)
        if offset in causes and (run.partition, offset) not in sent
    ]


def _records(run: Records, rows: Sequence[int]) -> Records:
    columns = (run.offsets, run.times, run.keys, run.values, run.headers)
    return Records(run.partition, *([column[row] for row in rows] for column in columns))  # type: ignore[arg-type]


def _places(run: Records, part: Decoded) -> list[tuple[int, int]]:
    """For each decoded event the offset of its record and its index there, counting its invalid events, too."""
    invalid = {run.offsets[one.row]: set(one.rows) for one in part.rejected if one.rows}
    places: list[tuple[int, int]] = []
    assert part.batch.places is not None
    offset, index = -1, 0
    for own in part.batch.places.offsets.tolist():
        index = 0 if own != offset else index + 1
        offset = own
        while index in invalid.get(offset, ()):
            index += 1
        places.append((offset, index))
    return places
