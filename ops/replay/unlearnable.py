"""The events of a recorded stream that a learner, its encoder or its evaluation cannot take, found as in a service.

A service leaves such an event out of its block; a file is one block, in which micro-batches are cut anew without it. So
they are all found first, in blocks of the size of a service's, and the stream is then learned as if without their rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from thalweg.ops.run.failed import Failed
from thalweg.proto.event import Decoded
from thalweg.stream.exceptions import first_line
from thalweg.stream.learn.blocks import DecodedBlock
from thalweg.stream.learn.fold import Checkpoint, Fold
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.quarantine.breaker import Breaker
from thalweg.stream.quarantine.search import MOST_TRIALS, Found, find
from thalweg.stream.quarantine.skips import keep

_BLOCK_EVENTS = 500
_QUICK_EVENTS = 256
_COPY_SHARE = 0.05  # of the time, for copies of the state
_MOST_SINCE = 100  # blocks that are learned again from a copy


def unlearnable(
    fold: Fold,
    parts: Iterable[Decoded],
    settings: ProcessorSettings,
    fatal: tuple[type[Exception], ...],
    ticks: Callable[[], float] = time.perf_counter,
) -> dict[int, str]:
    """The events that raise, by their number in the stream from 0, with the reason of each.

    Args:
        fold: A fold at the beginning of the stream; it learns all other events.
        parts: The stream.
        settings: The size of micro-batches, and the share of events above which the model is stopped.
        fatal: Exceptions that are no fault of an event; they are passed on.
        ticks: Seconds.

    Raises:
        Failed: The circuit breaker of a service would stop the model.
    """
    return _Search(fold, settings, fatal, ticks).run(parts)


class _Search:
    def __init__(
        self, fold: Fold, settings: ProcessorSettings, fatal: tuple[type[Exception], ...], ticks: Callable[[], float]
    ) -> None:
        self._fold, self._fatal, self._ticks = fold, fatal, ticks
        self._batch_events = settings.file_batch_events
        self._window = Breaker(settings).learning
        self._copy()

    def run(self, parts: Iterable[Decoded]) -> dict[int, str]:
        found: dict[int, str] = {}
        first = 0
        for part in parts:
            for start in range(0, len(part.batch), _BLOCK_EVENTS):
                rows = range(start, min(start + _BLOCK_EVENTS, len(part.batch)))
                bad = self._learn(Decoded(part.batch.take(np.arange(rows.start, rows.stop))))
                found |= {first + start + row: reason for row, reason in bad.items()}
            first += len(part.batch)
        return found

    def _learn(self, block: Decoded) -> Mapping[int, str]:
        """Learn a block without the rows that raise, which are returned."""
        if self._apply(block) is None:
            self._window.note(len(block.batch), 0)
            self._since.append(block)
            if len(self._since) >= _MOST_SINCE or self._ticks() - self._copied_at > self._copy_seconds / _COPY_SHARE:
                self._copy()
            return {}
        self._back()
        self._copy()
        count = len(block.batch)
        found = self._find(block)
        ahead = self._window.ahead(count - len(found.bad), len(found.bad))
        if found.unresolved or (found.bad and ahead.tripped):
            what = ahead.told("events could not be learned", len(found.unresolved))
            raise Failed(
                f"stopped, as the circuit breaker of a service does (quarantine_share): {what}: {found.reason}"
            )
        self._window.note(count - len(found.bad), len(found.bad))
        self._back()
        if reason := self._apply(keep(block, found.good)):
            raise Failed(f"events fail now and then: {reason}")
        self._copy()
        return found.bad

    def _find(self, block: Decoded) -> Found:
        """What fails: found in large micro-batches, which take less time, if what is left then works in small ones."""
        count, room = len(block.batch), self._window.room(len(block.batch))
        found = find(count, lambda rows: self._try(block, rows, _QUICK_EVENTS), room, MOST_TRIALS)
        if found.unresolved or self._try(block, found.good, self._batch_events) is None:
            return found
        return find(count, lambda rows: self._try(block, rows, self._batch_events), room, MOST_TRIALS)

    def _try(self, block: Decoded, rows: Sequence[int], batch_events: int) -> str | None:
        self._back()
        return self._apply(keep(block, rows), batch_events)

    def _apply(self, block: Decoded, batch_events: int = 0) -> str | None:
        """Why a block cannot be learned; the fold is then half changed. None: it was learned."""
        try:
            step = DecodedBlock(self._fold.version + 1, batch_events or self._batch_events, (block,), {})
            self._fold.apply(step)
        except self._fatal:
            raise
        except Exception as error:
            return first_line(error)
        return None

    def _copy(self) -> None:
        started = self._ticks()
        self._point: Checkpoint = self._fold.checkpoint()
        self._since: list[Decoded] = []
        self._copied_at = self._ticks()
        self._copy_seconds = self._copied_at - started

    def _back(self) -> None:
        """The fold as after the last block that was learned."""
        self._fold.back_to(self._point)
        for block in self._since:
            if reason := self._apply(block):
                raise Failed(f"events fail now and then: {reason}")


def without(parts: Iterable[Decoded], left_out: Mapping[int, str]) -> Iterator[tuple[Decoded, dict[int, str]]]:
    """The parts without the events of these numbers, and the place of each of them with its reason.

    A place is the line in a file, or else the number of the event from 1.
    """
    first = 0
    for part in parts:
        count = len(part.batch)
        gone = [row for row in range(count) if first + row in left_out] if left_out else []
        if gone:
            places = part.batch.places
            told = {
                first + row + 1 if places is None else int(places.offsets[row]): left_out[first + row] for row in gone
            }
            yield keep(part, sorted(set(range(count)) - set(gone))), told
        else:
            yield part, {}
        first += count
