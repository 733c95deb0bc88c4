"""Files of event sequences, one per line, as the stream of single events that they were recorded from.

A line is a JSON object with `key`, the times `t` (ascending) and the types `k`, the usual format of
point-process data sets; a list `dt` of gaps takes precedence over differences of `t`. If all sequences start at 0, they
are started one after the other, some twenty at a time; others start at their own times. The names of EasyTPP's data
sets (`seq_idx`, `time_since_start`, `type_event`) are taken as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.bounds.json_depth import too_deep
from thalweg.proto.bounds.limits import MAX_JSON_DEPTH, MAX_SECONDS
from thalweg.proto.bounds.texts import check_classes, check_keys
from thalweg.proto.columns import class_name
from thalweg.proto.event import Batch, ClassLabels, Decoded
from thalweg.proto.json_text import json_of
from thalweg.proto.rejected import Refused, Rejected
from thalweg.proto.rows.assembly import name_of
from thalweg.proto.schema import Schema
from thalweg.stream.sources.csv_reading import FileError

_KEY = {"key": ("bytes", ())}
_AT_A_TIME = 20.0
_NAMES = {"key": "seq_idx", "t": "time_since_start", "k": "type_event"}
"""Ours, and those of EasyTPP."""


def holds_sequences(line: bytes) -> bool:
    """Whether a file's first line is a sequence rather than an event."""
    if not line.lstrip().startswith(b"{"):
        return False
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return False
    found = _renamed(found)
    return isinstance(found.get("t"), list) and isinstance(found.get("k"), list)


def types_of_sequences(lines: Iterable[bytes]) -> tuple[int, set[str]]:
    """How many of these lines are sequences, and the types of their events."""
    count, types = 0, set()
    for line in lines:
        with suppress(Refused, ValueError, OverflowError):
            types.update(_sequence(line.strip(), 1.0)[2])
            count += 1
    return count, types


def _renamed(found: dict[str, Any]) -> dict[str, Any]:
    """With our own names; they take precedence."""
    return {ours: found[theirs] for ours, theirs in _NAMES.items() if theirs in found} | found


def sequence_events(
    path: Path, lines: Iterable[bytes], schema: Schema, time_unit: float, limit: int | None, chunk: int
) -> Iterator[Decoded]:
    """Single events of all sequences in order of time; `Rejected.row` is the line of a sequence.

    Args:
        path: For messages.
        lines: Of the file; all are read before the first event is returned.
        schema: Of a model with one input `key` and class labels.
        time_unit: Seconds of the file's time unit.
        limit: Most events.
        chunk: Events per chunk.

    Raises:
        FileError: The model has other inputs.
    """
    if {name: (spec.dtype, spec.shape) for name, spec in schema.inputs.items()} != _KEY or schema.label != "class":
        raise FileError(f"{path}: contains event sequences; expected a model with one input 'key' of bytes")
    keys: list[str] = []
    sequences: list[tuple[NDArray[np.float64], list[str]]] = []
    rejected: list[Rejected] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                key, times, types = _sequence(line.strip(), time_unit)
            except Refused as error:
                rejected.append(Rejected(number, error.reason, str(error)))
                continue
            except (ValueError, OverflowError) as error:
                rejected.append(Rejected(number, "malformed", f"{error!s:.200}"))
                continue
            keys.append(key)
            sequences.append((times, types))
    batch = _merged(keys, sequences)
    for part in islice(batch.micro_batches(chunk), None if limit is None else -(-limit // chunk)):
        left = len(part) if limit is None else limit
        yield Decoded(part[:left], rejected)
        limit, rejected = None if limit is None else limit - len(part), []
    if rejected:
        yield Decoded(batch[:0], rejected)


def _sequence(line: bytes, time_unit: float) -> tuple[str, NDArray[np.float64], list[str]]:
    """Key, times in seconds and names of types; the times are (L,). Raises ValueError, OverflowError or Refused."""
    if too_deep(line):
        raise ValueError(f"expected JSON nested at most {MAX_JSON_DEPTH} deep, got deeper")
    found = json_of(line)
    found = _renamed(found) if isinstance(found, dict) else found
    if not isinstance(found, dict) or not {"key", "t", "k"} <= set(found):
        raise ValueError("expected an object with key, t and k")
    key = name_of("key", "bad_key", found["key"])
    if key is None:
        raise ValueError("key: expected a text or a number, got none")
    check_keys([key])
    source = "dt" if "dt" in found else "t"
    given = found[source]
    if not isinstance(given, list) or not all(type(one) in (int, float) for one in given):
        raise ValueError(f"{source}: expected a list of numbers")
    if not isinstance(found["k"], list) or len(given) != len(found["k"]):
        types = len(found["k"]) if isinstance(found["k"], list) else "no list"
        raise ValueError(f"expected as many types as times, got {types} and {len(given)}")
    times = np.array(given, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        times = (times.cumsum() if source == "dt" else times) * time_unit
    if not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise ValueError(f"{source}: expected finite times in ascending order")
    if len(times) and not (times[0] >= 0 and times[-1] < MAX_SECONDS):
        raise Refused(
            "invalid_time",
            f"{source}: expected times from 0 to {MAX_SECONDS:g} seconds, got {times[0]:g} to {times[-1]:g}; "
            f"is the time unit right?",
        )
    names = [class_name(kind) for kind in found["k"]]
    check_classes(set(names))
    return key, times, names


def _merged(keys: list[str], sequences: list[tuple[NDArray[np.float64], list[str]]]) -> Batch:
    there = [place for place, (times, _) in enumerate(sequences) if len(times)]
    begins = np.array([sequences[place][0][0] for place in there])
    if len(there) > 1 and not begins.any():
        mean = float(np.mean([sequences[place][0][-1] for place in there]))
        begins = np.random.default_rng(0).exponential(mean / _AT_A_TIME, len(there)).cumsum()
    else:
        begins = np.zeros(len(there))
    empty = np.zeros(0)
    times = np.concatenate([empty, *(begin + sequences[place][0] for begin, place in zip(begins, there))])
    owners = np.repeat(np.array(there, dtype=np.int64), [len(sequences[place][0]) for place in there])
    kinds = [kind for place in there for kind in sequences[place][1]]
    order = np.argsort(times, kind="stable")
    names = {name: code for code, name in enumerate(dict.fromkeys(kinds[row] for row in order.tolist()))}
    codes = np.array([names[kind] for kind in kinds], dtype=np.int32)[order]
    told = [keys[place] for place in owners[order].tolist()]
    column = np.empty(len(told), dtype=object)
    column[:] = [key.encode() for key in told]
    return Batch({"key": column}, ClassLabels(codes, tuple(names)), np.ones(len(told)), times[order], keys=told)
