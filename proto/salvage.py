"""Decode many events at once, and find those that cannot be used only when that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from thalweg.proto.columns import empty_batch
from thalweg.proto.event import Batch, Decoded, join
from thalweg.proto.rejected import Refused, Rejected
from thalweg.proto.schema import Schema

_PARTS = 8  # one bad event in a thousand costs a second decoding; nothing but bad ones, about four


def salvage(schema: Schema, rows: Sequence[int], decode: Callable[[range], Batch]) -> Decoded:
    """Everything that can be used, in order, and what cannot.

    Args:
        schema: What an event must look like.
        rows: What each event's place is called in `Rejected.row`.
        decode: Makes one batch of the events at these places; raises Refused when any of them cannot be used, whose
            reason and text count only where there is but one place.
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
