"""Decode many events at once, and search for invalid ones only when that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from thalweg.proto.columns import empty_batch
from thalweg.proto.event import Batch, Decoded, join
from thalweg.proto.rejected import Refused, Rejected
from thalweg.proto.schema import Schema

_PARTS = 8  # one invalid event in a thousand costs a second pass; only invalid events, about four


def salvage(schema: Schema, rows: Sequence[int], decode: Callable[[range], Batch]) -> Decoded:
    """Every valid event, in order, and the invalid ones.

    Args:
        schema: The schema of events.
        rows: The value of `Rejected.row` for each event.
        decode: Decodes the events at these indices into one batch; raises Refused when any of them is invalid; its
            reason and text count only for a single index.
    """
    batches: list[Batch] = []
    rejected: list[Rejected] = []
    for part in _parts(range(len(rows)), decode):
        if isinstance(part, Batch):
            batches.append(part)
        else:
            place, refused = part
            rejected.append(Rejected(rows[place], refused.reason, str(refused)))
    return Decoded(join(batches) if batches else empty_batch(schema), rejected)


def _parts(places: range, decode: Callable[[range], Batch]) -> Iterator[Batch | tuple[int, Refused]]:
    if not places:
        return
    try:
        batch = decode(places)
    except Refused as refused:
        if len(places) == 1:
            yield places[0], refused
            return
    else:
        yield batch
        return
    size = -(-len(places) // _PARTS)
    for start in range(0, len(places), size):
        yield from _parts(places[start : start + size], decode)
