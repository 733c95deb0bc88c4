"""Finds what cannot be learned in a block, by learning parts of it again and again from the same state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from thalweg.proto.event import Decoded
from thalweg.proto.records import Records
from thalweg.stream.exceptions import first_line
from thalweg.stream.journal.entries import BlockEntry, Skip
from thalweg.stream.learn.blocks import Block, DecodedBlock
from thalweg.stream.learn.fold import Fold
from thalweg.stream.quarantine.attempts import Attempts, Place, place_of
from thalweg.stream.quarantine.search import MOST_TRIALS, find
from thalweg.stream.quarantine.skips import event_skips, keep


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found out about a block."""

    skips: tuple[Skip, ...]
    """What fails."""
    untried: tuple[Skip, ...]
    """What was not tried any more, because too much failed."""
    events: int
    """The events of the block that can be decoded, and the records that cannot."""
    reason: str
    """Why the last failed trial failed; empty if none did."""


class Trials:
    """Trials on a fold that stands, whole, before the block. They leave it half changed: call `restore` after them.

    Args:
        fold: The fold.
        entry: The block's entry.
        block: Its records.
        alive: Called before every trial; may raise to end the search.
    """

    def __init__(self, fold: Fold, entry: BlockEntry, block: Block, alive: Callable[[], None]) -> None:
        self._fold, self._entry, self._block, self._alive = fold, entry, block, alive
        self.point = fold.checkpoint()
        """The fold before the block."""

    def restore(self) -> None:
        """Bring the fold back to where it was before the block."""
        self._fold.back_to(self.point)

    def examine(self, room: Callable[[int], int]) -> Verdict:
        """Find what fails. `room`: how many of so many items may fail before it is useless to go on."""
        records = [(run, row) for run in self._block.records for row in range(len(run))]
        found = find(
            len(records), lambda some: self._decodes([records[i] for i in some]), room(len(records)), MOST_TRIALS
        )
        skips = self._records_named(records, found.bad)
        untried = self._records_named(records, dict.fromkeys(found.unresolved, found.reason))
        decoded = self._fold.decode(self._without((*skips, *untried)), self._block)
        places = [(number, row) for number, part in enumerate(decoded.parts) for row in range(len(part.batch))]
        learned = find(
            len(places), lambda some: self._learns(decoded, [places[i] for i in some]), room(len(places)), MOST_TRIALS
        )
        return Verdict(
            (*skips, *_events_named(decoded, places, learned.bad)),
            (*untried, *_events_named(decoded, places, dict.fromkeys(learned.unresolved, learned.reason))),
            len(skips) + len(untried) + len(places),
            learned.reason or found.reason,
        )

    def one_by_one(self, attempts: Attempts, fatal: Mapping[Place, str]) -> Verdict:
        """Find what fails when a trial may end this process: each event is tried alone, but those that have done so."""
        decoded = self._fold.decode(self._entry, self._block)
        skips, events, reason = list[Skip](), 0, ""
        for number, part in enumerate(decoded.parts):
            places = list(event_skips(decoded.runs[number], part, dict.fromkeys(range(len(part.batch)), "")))
            events += len(places)
            for row, place in enumerate(places):
                cause = fatal.get(place_of(place))
                if cause is None:
                    attempts.trying(place)
                    cause = self._learns(decoded, [(number, row)])
                if cause is not None:
                    skips.append(replace(place, cause=cause))
                    reason = cause
        attempts.trying(None)
        return Verdict(tuple(skips), (), events, reason)

    def none(self, cause: str) -> Verdict:
        """Try nothing, not even to decode: every record fails."""
        records = [(run, row) for run in self._block.records for row in range(len(run))]
        skips = self._records_named(records, dict.fromkeys(range(len(records)), cause))
        return Verdict(skips, (), len(skips), cause)

    def works_without_evaluation(self) -> bool:
        """Whether the whole block can be learned when nothing is graded; the fold then grades nothing."""
        try:
            decoded = self._fold.decode(self._entry, self._block)
        except Exception:
            return False
        places = [(number, row) for number, part in enumerate(decoded.parts) for row in range(len(part.batch))]
        with self._fold.not_evaluating():
            return self._learns(decoded, places) is None

    def _without(self, skips: tuple[Skip, ...]) -> BlockEntry:
        return replace(self._entry, skipped=(*self._entry.skipped, *skips))

    def _decodes(self, records: Sequence[tuple[Records, int]]) -> str | None:
        self._alive()
        wanted = {(run.partition, run.offsets[row]) for run, row in records}
        others = tuple(
            Skip(run.partition, offset, None, "")
            for run in self._block.records
            for offset in run.offsets
            if (run.partition, offset) not in wanted
        )
        try:
            self._fold.decode(self._without(others), self._block)
        except Exception as error:
            return first_line(error)
        return None

    def _learns(self, decoded: DecodedBlock, places: Sequence[tuple[int, int]]) -> str | None:
        self._alive()
        rows: list[list[int]] = [[] for _ in decoded.runs]
        for number, row in places:
            rows[number].append(row)
        parts = tuple(keep(part, some) for part, some in zip(decoded.parts, rows))
        self.restore()
        try:
            self._fold.apply(replace(decoded, parts=parts))
        except Exception as error:
            return first_line(error)
        return None

    def _records_named(self, records: Sequence[tuple[Records, int]], causes: dict[int, str]) -> tuple[Skip, ...]:
        return tuple(
            Skip(run.partition, run.offsets[row], None, causes[i])
            for i, (run, row) in enumerate(records)
            if i in causes
        )


def _events_named(decoded: DecodedBlock, places: Sequence[tuple[int, int]], causes: dict[int, str]) -> tuple[Skip, ...]:
    by_part: dict[int, dict[int, str]] = {}
    for i, cause in sorted(causes.items()):
        number, row = places[i]
        by_part.setdefault(number, {})[row] = cause
    parts: tuple[Decoded, ...] = tuple(decoded.parts)
    return tuple(
        skip for number, some in by_part.items() for skip in event_skips(decoded.runs[number], parts[number], some)
    )
