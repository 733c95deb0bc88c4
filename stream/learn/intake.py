"""How a block comes in: taken from the log, journalled, decoded, and what cannot be used kept as dead letters.

All of it is done before anything of the block is in the state, in this order: what disk or broker refuse is tried
again, and who is stopped meanwhile leaves a state that knows nothing of the block.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import structlog

from thalweg.proto.records import Position
from thalweg.stream.learn.blocks import Block, DecodedBlock, gather
from thalweg.stream.learn.fold import Fold
from thalweg.stream.learn.journal import BlockEntry, Journal
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.log import Log, LogError, Reader, Start

log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")

_LONGEST_WAIT_SECONDS = 5.0


class Stopped(Exception):
    """Told to stop while waiting for a disk or a broker; nothing of the block at hand is in the state."""


class Intake:
    """Makes blocks that a fold can apply; on the learner's thread.

    Args:
        fold: Which the blocks are for.
        source: Where their records are.
        journal: Where they are written down.
        settings: The model's.
        ports: Those for dead letters and observers are used.
        stopping: Ends every wait.
    """

    def __init__(
        self,
        fold: Fold,
        source: Log,
        journal: Journal,
        settings: ProcessorSettings,
        ports: Ports,
        stopping: threading.Event,
    ) -> None:
        self._fold = fold
        self._source = source
        self._journal = journal
        self._settings = settings
        self._observer = ports.observer
        self._dead_letters = ports.dead_letters
        self._stopping = stopping

    def open(self, after: Position, start: Start = "earliest") -> Reader:
        """A reader of the model's topics; while the log is away it is waited for. Raises Stopped."""
        settings = self._settings
        return self._persistently("log", lambda: self._source.reader(settings.topics, after, start, settings.group))

    def take(self, reader: Reader, idle_seconds: float) -> DecodedBlock | None:
        """The next block, journalled; None when nothing came within `idle_seconds`. Raises Stopped."""
        settings = self._settings
        block = gather(
            reader,
            batch_records=settings.batch_events,
            batch_seconds=settings.batch_seconds,
            idle_seconds=idle_seconds,
            max_bytes=settings.block_bytes,
        )
        self._report_gaps(reader)
        if block is None or len(block) == 0:
            return None
        entry = BlockEntry(self._fold.version + 1, block.ranges, settings.batch_events)
        self._persistently("journal", partial(self._journal.append, entry))
        return self.decode(entry, block, {})

    def decode(self, entry: BlockEntry, block: Block, sent: Position) -> DecodedBlock:
        """A journalled block as the fold wants it; dead letters up to `sent` have been sent before. Raises Stopped."""
        decoded = self._fold.decode(entry, block)
        for run, part in zip(block.records, decoded.parts):
            last = sent.get(run.partition, -1)
            unsent = [rejected for rejected in part.rejected if run.offsets[rejected.row] > last]
            if part.rejected and self._dead_letters is None:
                log.warning("records cannot be used", model=self._settings.model, first=str(part.rejected[0]))
            elif unsent and self._dead_letters is not None:
                self._persistently("dead letters", partial(self._dead_letters.send, run, unsent))
        return decoded

    def last_sent(self) -> Position:
        """Per partition the newest dead letter, so that none is sent twice. Raises Stopped."""
        letters = self._dead_letters
        return self._persistently("dead letters", letters.last_sent) if letters is not None else {}

    def _report_gaps(self, reader: Reader) -> None:
        for gap in reader.gaps():
            log.error(
                "retention deleted records before they were learned: going on from the earliest that is kept",
                model=self._settings.model,
                partition=str(gap.partition),
                first=gap.first,
                last=gap.last,
            )
            self._observer.lost(gap)

    def _persistently(self, what: str, action: Callable[[], Answer]) -> Answer:
        """Do it, again and again while disk or broker refuse. Raises Stopped when told to stop first."""
        wait = 0.1
        while True:
            try:
                return action()
            except (OSError, LogError) as error:
                log.error("refused: retrying", what=what, model=self._settings.model, problem=str(error))
                if self._stopping.wait(wait):
                    raise Stopped from error
                wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
