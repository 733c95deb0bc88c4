"""Where a model begins in its log: a new one, and one whose topics were created again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress

import structlog

from thalweg.proto.event import Decoded
from thalweg.proto.records import Partition
from thalweg.stream.journal.entries import BlockEntry
from thalweg.stream.journal.journal import JournalError, before_the_first
from thalweg.stream.learn.blocks import Block, DecodedBlock
from thalweg.stream.learn.context import ModelContext
from thalweg.stream.learn.intake import Intake
from thalweg.stream.learn.saving.saving import Saving
from thalweg.stream.log.identity import replaced
from thalweg.stream.retry import Stopped

log = structlog.get_logger(__name__)


class Beginning:
    """Sets the start of a fold, on the learner's thread.

    Args:
        context: The model.
        intake: Opens the log.
        saving: Saves the beginning.
    """

    def __init__(self, context: ModelContext, intake: Intake, saving: Saving) -> None:
        self._fold, self._journal, self._settings = context.fold, context.journal, context.settings
        self._observer, self._intake, self._saving = context.ports.observer, intake, saving
        self._history, self._health, self._stopping = context.ports.history, context.ports.health, context.stopping

    def begin(self) -> None:
        """Fix a new model's start position before anything is learned: with `latest`, records that arrive during a
        restart count. Raises OSError if it cannot be saved.
        """
        self._fold.identify(self._intake.identities())
        if self._journal.begins_after() == 0:  # all snapshots are damaged: replay from an empty state
            self._fold.start_at(before_the_first(self._journal))
            return
        if self._journal.begins_after() is not None:
            log.error("all snapshots are damaged and the journal has no beginning: starting with an empty state")
            self._journal.truncate(0)
        if self._settings.start == "latest":
            with closing(self._intake.open({}, "latest")) as reader:
                self._fold.start_at(reader.position())
        if self._history is not None:
            self._learn_history(self._history())
        self._saving.save(wait=True, must=True)

    def _learn_history(self, events: Iterable[Decoded]) -> None:
        """Learn recorded events as the first block. They are in the first snapshot, not in the journal: no replay
        reads them again. Raises Stopped; what was learned until then is not saved.
        """
        version = self._fold.version + 1
        done = self._fold.apply(DecodedBlock(version, self._settings.history_batch_events, self._followed(events), {}))
        log.info(
            "learned recorded events before those of the log",
            model=self._settings.model,
            events=done.events,
            invalid=dict(done.rejected),
        )

    def _followed(self, events: Iterable[Decoded]) -> Iterator[Decoded]:
        for part in events:
            if self._stopping.is_set():
                raise Stopped
            self._health.beat()
            yield part

    def follow_identities(self) -> None:
        """Read the topics from their beginning that were deleted and created again since the snapshot.

        The journal's entries name records that no longer exist. They are dropped, and an empty block takes their place:
        its version is saved, so that no replay crosses from one log to the other.
        """
        present = self._intake.identities()
        anew = replaced(self._fold.log_identity, present)
        self._fold.identify(present)
        if not anew:
            return
        read = {str(partition): last for partition, last in self._fold.end.items() if partition.topic in anew}
        log.error(
            "topics were deleted and created again since this state was saved, or log.url leads to another log: "
            "records in the old ones that were not learned yet are lost; reading the new ones from their beginning",
            model=self._settings.model,
            topics=anew,
            read=read,
        )
        self._go_on_without_history(lambda: self._fold.read_anew(anew))
        for topic in anew:
            self._observer.log_replaced(topic)

    def follow_older_copy(self, places: Mapping[Partition, int]) -> None:
        """Go on at these offsets: the log is an older copy of the one that was read, as one that was put back from a
        backup. What was learned stays; what is at these offsets now was never learned.

        As in `follow_identities`, no replay crosses from one log to the other.
        """
        if not places:
            return
        log.error(
            "records that were learned are gone from the log, as if an older copy of it was put back: they stay "
            "learned, each once; learning continues with what was appended since that copy was made",
            model=self._settings.model,
            read={str(part): self._fold.end.get(part) for part in places},
            continues={str(part): first for part, first in places.items()},
        )
        with suppress(JournalError):
            unsaved = next(iter(self._journal.entries(self._fold.version)), None)
            if unsaved is not None:
                log.error(
                    "what was learned after the newest snapshot is lost: its records are gone from the log",
                    model=self._settings.model,
                    saved=self._fold.version,
                )
        self._go_on_without_history(lambda: self._fold.read_on_at(places))
        for topic in sorted({part.topic for part in places}):
            self._observer.log_replaced(topic)

    def _go_on_without_history(self, move: Callable[[], None]) -> None:
        """Move the position; an empty block takes the place of the journal, and its version is saved."""
        self._journal.restart(self._fold.version)
        move()
        empty = BlockEntry(self._fold.version + 1, (), self._settings.history_batch_events)
        self._journal.append(empty)
        self._fold.apply(self._fold.decode(empty, Block(())))
        self._saving.save(wait=True)
