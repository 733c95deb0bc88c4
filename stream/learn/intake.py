"""Intake of a block: read from the log, journal, decode, and send invalid records to the dead-letter topic.

All of this happens before anything of the block is in the state, in this order: failures of disk or broker are
retried, and a stop in the meantime leaves a state that contains nothing of the block.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import structlog

from thalweg.proto.records import Position
from thalweg.stream.journal.entries import BlockEntry
from thalweg.stream.journal.journal import Journal
from thalweg.stream.learn.blocks import Block, DecodedBlock, gather
from thalweg.stream.learn.fold import Fold
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.identity import identities
from thalweg.stream.log.log import Log, LogError, Reader, Start
from thalweg.stream.runtime import Signal

log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")

_LONGEST_WAIT_SECONDS = 5.0


class Stopped(Exception):
    """A stop was requested while waiting for a disk or a broker; the state contains nothing of the current block."""


class Intake:
    """Reads and journals blocks for a fold, on the learner's thread.

    Args:
        fold: The fold that applies the blocks.
        source: The log that holds the records.
        journal: The journal of the blocks.
        settings: Settings of the model.
        ports: Provides the dead-letter sink and the observer.
        stopping: Ends every wait when set.
        ticks: Monotonic seconds.
    """

    def __init__(
        self,
        fold: Fold,
        source: Log,
        journal: Journal,
        settings: ProcessorSettings,
        ports: Ports,
        stopping: Signal,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fold = fold
        self._source = source
        self._journal = journal
        self._settings = settings
        self._observer = ports.observer
        self._dead_letters = ports.dead_letters
        self._health = ports.health
        self._stopping = stopping
        self._ticks = ticks

    def open(self, after: Position, start: Start = "earliest") -> Reader:
        """Open a reader of the model's topics; retries while the log is unavailable. Raises Stopped."""
        settings = self._settings
        return self._retry("log", lambda: self._source.reader(settings.topics, after, start, settings.group))

    def identities(self) -> dict[str, str]:
        """Identity of each topic that has one; retries while the log is unavailable. Raises Stopped."""
        return self._retry("log", lambda: identities(self._source, self._settings.topics))

    def note_identities(self) -> None:
        """Let the state remember the topics that were created since the start."""
        unknown = [topic for topic in self._settings.topics if topic not in self._fold.log_identity]
        with suppress(LogError):  # next time, then
            self._fold.identify(identities(self._source, unknown))

    def take(self, reader: Reader, idle_seconds: float) -> DecodedBlock | None:
        """The next block, journalled and decoded; None if no record arrived within `idle_seconds`. Raises Stopped."""
        settings = self._settings
        block = gather(
            reader,
            batch_records=settings.batch_events,
            batch_seconds=settings.batch_seconds,
            idle_seconds=idle_seconds,
            max_bytes=settings.block_bytes,
            clock=self._ticks,
        )
        self._report_gaps(reader)
        if block is None or len(block) == 0:
            return None
        entry = BlockEntry(self._fold.version + 1, block.ranges, settings.batch_events)
        self._retry("journal", partial(self._journal.append, entry))
        return self.decode(entry, block, {})

    def decode(self, entry: BlockEntry, block: Block, sent: Position) -> DecodedBlock:
        """Decode a journalled block; dead letters up to `sent` are not sent again. Raises Stopped."""
        decoded = self._fold.decode(entry, block)
        for run, part in zip(block.records, decoded.parts):
            last = sent.get(run.partition, -1)
            unsent = [rejected for rejected in part.rejected if run.offsets[rejected.row] > last]
            if part.rejected and self._dead_letters is None:
                log.warning(
                    "invalid records, no dead-letter topic", model=self._settings.model, first=str(part.rejected[0])
                )
            elif unsent and self._dead_letters is not None:
                self._retry("dead letters", partial(self._dead_letters.send, run, unsent))
        return decoded

    def last_sent(self) -> Position:
        """The newest dead letter of each partition, so that none is sent twice. Raises Stopped."""
        letters = self._dead_letters
        return self._retry("dead letters", letters.last_sent) if letters is not None else {}

    def _report_gaps(self, reader: Reader) -> None:
        for gap in reader.gaps():
            log.error(
                "retention deleted records before they were learned: continuing at the earliest offset",
                model=self._settings.model,
                partition=str(gap.partition),
                first=gap.first,
                last=gap.last,
            )
            self._observer.lost(gap)

    def _retry(self, what: str, action: Callable[[], Answer]) -> Answer:
        """Run the action, retrying while disk or broker fail. Raises Stopped if a stop is requested first."""
        wait = 0.1
        while True:
            try:
                return action()
            except (OSError, LogError) as error:
                log.error("refused: retrying", what=what, model=self._settings.model, problem=str(error))
                self._health.waiting(f"waits for the {what}: {error}")
                if self._stopping.wait(wait):
                    raise Stopped from error
                wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
