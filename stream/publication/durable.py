"""Publishes a version only once its journal entry is on disk: what servers have shown survives a power cut."""

from __future__ import annotations

from thalweg.models.contract.learner import Predictor
from thalweg.stream.journal.journal import Journal
from thalweg.stream.learn.ports import Publisher


class DurablePublisher:
    """A publisher that flushes the journal before each version.

    The flush counts as time of publishing, so publications become rarer, not learning slower, where the disk is slow.

    Args:
        publisher: Publishes.
        journal: Holds the entries that led to the versions.
    """

    def __init__(self, publisher: Publisher, journal: Journal) -> None:
        self._publisher = publisher
        self._journal = journal

    def shown(self) -> int | None:
        return self._publisher.shown()

    def publish(self, predictor: Predictor, *, version: int, learned_events: int, event_time: float) -> None:
        """Publish this version. Raises OSError if the journal cannot be flushed, or the version not be published."""
        self._journal.sync()
        self._publisher.publish(predictor, version=version, learned_events=learned_events, event_time=event_time)

    def confirm(self, as_of: float) -> None:
        self._publisher.confirm(as_of)
