"""The new events of a block: duplicates are dropped, everything is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.proto.event import Batch, Decoded
from thalweg.stream.learn.dedup import RecentIds

_UNLABELLED = "\0"  # prefix of the id of an event without a label


@dataclass(slots=True)
class Totals:
    """Totals over the parts of a block."""

    events: int = 0
    labelled: int = 0
    duplicates: int = 0
    repeated: str = ""
    """The newest duplicate, for people."""
    rejected: Counter[str] = field(default_factory=Counter)
    tombstones: int = 0
    oldest_time: float | None = None
    newest_time: float | None = None

    def counted(self) -> dict[str, Any]:
        """What an outcome has of them under the same names."""
        names = ("events", "labelled", "duplicates", "repeated", "rejected", "tombstones", "oldest_time")
        return {name: getattr(self, name) for name in names}


def fresh_events(parts: Iterable[Decoded], recent_ids: RecentIds, totals: Totals) -> Iterator[Batch]:
    """The events of each part that are no duplicates; what was seen of it is added to the totals."""
    for part in parts:
        totals.rejected.update(rejected.reason for rejected in part.rejected)
        totals.tombstones += part.tombstones
        batch = part.batch
        fresh = None if batch.ids is None else recent_ids.fresh(_identities(batch))
        if fresh is not None:
            batch = batch.take(fresh)
            totals.duplicates += len(part.batch) - len(batch)
            totals.repeated = _newest(part.batch, ~fresh)
        if len(batch):
            totals.events += len(batch)
            totals.labelled += 0 if batch.labels is None else int(np.count_nonzero(batch.labels.present))
            oldest, newest = float(batch.times.min()), float(batch.times.max())
            totals.oldest_time = oldest if totals.oldest_time is None else min(oldest, totals.oldest_time)
            totals.newest_time = newest if totals.newest_time is None else max(newest, totals.newest_time)
            yield batch


def _identities(batch: Batch) -> Sequence[str | None]:
    """Keys for deduplication: the id and whether there is a label, because the label may arrive after the event."""
    assert batch.ids is not None
    present = None if batch.labels is None else batch.labels.present
    if present is not None and present.all():
        return batch.ids
    rows: list[bool] = [False] * len(batch) if present is None else present.tolist()
    return [id if labelled or id is None else f"{_UNLABELLED}{id}" for id, labelled in zip(batch.ids, rows)]


def _newest(batch: Batch, among: NDArray[np.bool_]) -> str:
    """The id of the newest of some events, and where it stands in the log."""
    row = int(np.flatnonzero(among)[-1])
    id = f"id {batch.ids[row] if batch.ids is not None else None!r:.80}"
    return id if batch.places is None else f"{id} ({batch.places.told(row)})"
