"""Intake of a block: read from the log, journal, decode, and send invalid records to the dead-letter topic.

All of this happens before anything of the block is in the state, in this order: failures of disk or broker are
retried, and a stop in the meantime leaves a state that contains nothing of the block.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import structlog

from thalweg.memory.devices.failures import DeviceFailed
from thalweg.proto.records import Partition, Position
from thalweg.stream.journal.entries import BlockEntry, Skip
from thalweg.stream.learn.blocks import Block, DecodedBlock, gather
from thalweg.stream.learn.context import ModelContext
from thalweg.stream.learn.micro_batches.size import USUAL, MicroBatchSize
from thalweg.stream.learn.outcome import Outcome
from thalweg.stream.learn.ports import DeadLetterSink
from thalweg.stream.log.identity import diverged, identities
from thalweg.stream.log.log import GAP_TEXTS, Epochs, LogError, LogReplaced, Reader, Start, gap_fields
from thalweg.stream.quarantine.skips import LEARNER_ERROR, letters
from thalweg.stream.retry import Retry, Stopped

log = structlog.get_logger(__name__)

_LEAST_EVENT_BYTES = 32  # of an event in a record of many

NOT_THE_EVENTS = (Stopped, LogReplaced, DeviceFailed)
"""Raised while a block is applied, but not for any fault of its events."""


class Intake:
    """Reads and journals blocks for a fold, on the learner's thread.

    Args:
        context: The model.
    """

    def __init__(self, context: ModelContext) -> None:
        ports, settings = context.ports, context.settings
        self._fold, self._source, self._journal, self._settings = (
            context.fold,
            context.source,
            context.journal,
            settings,
        )
        self._observer, self._dead_letters = ports.observer, ports.dead_letters
        self._ticks = context.runtime.ticks
        self._size = MicroBatchSize(settings.batch_events, settings.least_batch_events, settings.waiting_seconds)
        self._retry = Retry(settings.model, ports.health, context.stopping)
        self._asked: set[str] = set()
        self.replaced = False
        """A topic was created again while it was read; the latest block is the last one of the deleted topic."""
        self.rewound: dict[Partition, int] = {}
        """The partitions that end before what was read of them: where they go on."""

    def open(self, after: Position, start: Start = "earliest") -> Reader:
        """Open a reader of the model's topics; retries while the log is unavailable. Raises Stopped."""
        settings = self._settings
        return self._retry("log", lambda: self._source.reader(settings.topics, after, start, settings.group))

    def identities(self) -> dict[str, str]:
        """Identity of each topic that has one; retries while the log is unavailable. Raises Stopped."""
        return self._retry("log", lambda: identities(self._source, self._settings.topics))

    def note_identities(self) -> None:
        """Let the state remember the topics that were created since the start, and the epochs of all."""
        unknown = [topic for topic in self._settings.topics if topic not in self._fold.log_identity]
        epochs: dict[str, Epochs] = {}
        with suppress(LogError):  # next time, then
            self._fold.identify(identities(self._source, unknown))
            epochs = {topic: self._source.epochs(topic) for topic in self._settings.topics}
        self._fold.note_epochs(epochs)

    def diverged(self) -> dict[Partition, int]:
        """The first offset of each partition at which the log has no longer what the state has read, as after an older
        copy of it was put back and appended to; retries while the log is unavailable. Raises Stopped.
        """
        return self._retry("log", self._diverged)

    def _diverged(self) -> dict[Partition, int]:
        found: dict[Partition, int] = {}
        for topic, read in self._fold.log_epochs.items():
            present = self._source.epochs(topic)
            for part, (_, following) in self._source.bounds(topic).items():
                last = self._fold.end.get(part, -1)
                if (first := diverged(read, present, following, last)) is not None:
                    found[part] = first
        return found

    def identify(self, block: Block) -> None:
        """Let the state know the identities of a block's topics before it is learned; each is asked for once. Raises
        Stopped.
        """
        unknown = {run.partition.topic for run in block.records} - self._fold.log_identity.keys() - self._asked
        if unknown:
            self._asked |= unknown
            self._fold.identify(self._retry("log", lambda: identities(self._source, sorted(unknown))))

    def sync(self) -> None:
        """Return when the journal is on disk; retries while the disk fails. Raises Stopped."""
        self._retry("journal", self._journal.sync)

    def take(self, reader: Reader, idle_seconds: float) -> tuple[BlockEntry, Block] | None:
        """The next block, journalled; None if no record arrived within `idle_seconds`. Raises Stopped."""
        settings = self._settings
        block = gather(
            reader,
            batch_records=USUAL if settings.batch_events == "auto" else settings.batch_events,
            batch_seconds=settings.batch_seconds,
            idle_seconds=idle_seconds,
            max_bytes=settings.block_bytes,
            clock=self._ticks,
        )
        self._report_gaps(reader)
        if block is None or len(block) == 0:
            return None
        if self._size.needs_count:
            self._size.counted(_most_events_of(block))
        size = self._size.choose(len(block), sum(reader.lag().values()))
        entry = BlockEntry(self._fold.version + 1, block.ranges, size)
        self.journal(entry)
        return entry, block

    def learned(self, entry: BlockEntry, outcome: Outcome, seconds: float) -> None:
        """A block was decoded and learned within so many seconds."""
        self._size.learned(entry.batch_events, sum(part.count for part in entry.ranges), outcome.events, seconds)

    def journal(self, entry: BlockEntry) -> None:
        """Append an entry; retries while the disk refuses. Raises Stopped."""
        self._retry("journal", partial(self._journal.append, entry))

    def decode(
        self, entry: BlockEntry, block: Block, sent: Position, fresh: tuple[Skip, ...] | None = None
    ) -> DecodedBlock:
        """Decode a journalled block, and send what is invalid or skipped to the dead letters.

        Args:
            entry: The block's entry.
            block: Its records.
            sent: Dead letters of invalid records up to these offsets are not sent again.
            fresh: What the entry skips for the first time; None: an earlier process may have sent all of it.

        Raises:
            Stopped: Nothing of the block is in the state.
        """
        self._retry("schema registry", partial(self._fold.prepare, block))
        decoded = self._fold.decode(entry, block)
        for run, part in zip(decoded.runs, decoded.parts):
            last = sent.get(run.partition, -1)
            unsent = [rejected for rejected in part.rejected if run.offsets[rejected.row] > last]
            if part.rejected and self._dead_letters is None:
                log.warning(
                    "invalid records, no dead-letter topic", model=self._settings.model, first=str(part.rejected[0])
                )
            elif unsent and self._dead_letters is not None:
                self.sync()  # else the block may be cut anew after a power cut, and its dead letters be sent twice
                self._retry("dead letters", partial(self._dead_letters.send, run, unsent))
        if entry.skipped and self._dead_letters is not None:
            self.sync()  # as above: what is skipped anew after a power cut would be sent twice
            self._send_skipped(self._dead_letters, entry, block, fresh or ())
        return decoded

    def _send_skipped(self, sink: DeadLetterSink, entry: BlockEntry, block: Block, fresh: tuple[Skip, ...]) -> None:
        """Send the letters of skipped events: `fresh` ones in any case, others unless they were sent before."""
        older = [one for one in entry.skipped if one not in fresh]
        sent = self._retry("dead letters", partial(sink.recently_sent, LEARNER_ERROR)) if older else set()
        for run in block.records:
            for unsent in (letters(run, older, sent), letters(run, fresh)):
                if unsent:
                    self._retry("dead letters", partial(sink.send, run, unsent))

    def last_sent(self) -> Position:
        """The newest dead letter of each partition, so that none is sent twice. Raises Stopped."""
        letters = self._dead_letters
        return self._retry("dead letters", letters.last_sent) if letters is not None else {}

    def _report_gaps(self, reader: Reader) -> None:
        for gap in reader.gaps():
            log.error(GAP_TEXTS[gap.cause], model=self._settings.model, **gap_fields(gap))
            self.replaced = self.replaced or gap.cause == "replaced"
            if gap.cause == "rewound":
                self.rewound[gap.partition] = gap.first
            else:
                self._observer.lost(gap)


def _most_events_of(block: Block) -> int:
    """About the most events that the first record can hold: it is not decoded before its block is journalled."""
    first = block.records[0]
    if any(b"batch" in value.lower() for _, value in first.headers[0] if value):  # the content type of several events
        return max(1, len(first.values[0] or b"") // _LEAST_EVENT_BYTES)
    return 1
