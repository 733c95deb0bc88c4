"""What is said of the rest of a journal that does not lead on any more."""

from __future__ import annotations

from contextlib import suppress

import structlog

from thalweg.stream.journal.entries import BlockEntry
from thalweg.stream.journal.journal import Journal, JournalError
from thalweg.stream.learn.blocks import HistoryLost
from thalweg.stream.learn.fold import Fold
from thalweg.stream.learn.observer import Observer

log = structlog.get_logger(__name__)


def tell_lost(error: HistoryLost | JournalError, model: str, fold: Fold, journal: Journal, observer: Observer) -> None:
    """Say that what the journal holds above the fold's version is dropped, and what of it is lost."""
    other = error.other if isinstance(error, HistoryLost) else None
    if other is None:
        log.error(
            "events learned after the snapshot cannot be replayed exactly: continuing from here, with the rest of the "
            "journal dropped and its records learned as new blocks",
            model=model,
            version=fold.version,
            problem=str(error),
        )
        return
    before = fold.end.get(other, -1)
    read = before
    with suppress(JournalError):
        for entry in journal.entries(fold.version):
            if isinstance(entry, BlockEntry):
                read = max((part.last for part in entry.ranges if part.partition == other), default=read)
    log.error(
        "records that were learned are gone from the log, as if an older copy of it was put back: what was learned of "
        "them after the newest snapshot is lost; learning continues with what the log has in their place",
        model=model,
        version=fold.version,
        read={str(other): read},
        continues={str(other): before + 1},
        problem=str(error),
    )
    observer.log_replaced(other.topic)
