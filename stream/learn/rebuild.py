"""Rebuild a version from the log: the proof that a state is what the log says, nothing saved and nothing published."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from thalweg.memory.snapshots.snapshots import Manifest, Snapshots, UnknownVersion
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.learner import Learner
from thalweg.stream.learn.journal import Journal, JournalError, before_the_first
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.log import Log


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came of it."""

    base: int
    """The version it began with; 0: from nothing."""
    state_sha256: str
    """Of the rebuilt state."""
    events: int
    """Events learned again."""


class _LookingOn:
    """The kept versions, but saving keeps nothing."""

    def __init__(self, snapshots: Snapshots) -> None:
        self.newest = snapshots.newest
        self.load = snapshots.load
        self.manifests = snapshots.manifests

    def save(self, manifest: Manifest, parts: Mapping[str, State]) -> Manifest:
        return manifest


def rebuild(
    new_learner: Callable[[], Learner],
    source: Log,
    snapshots: Snapshots,
    journal: Journal,
    settings: ProcessorSettings,
    version: int,
) -> Rebuilt:
    """Learn what the journal says led to `version`: from nothing if it reaches back so far, else from a kept version.

    Raises: as `rebuild_each`.
    """
    return next(rebuild_each(new_learner, source, snapshots, journal, settings, [version]))


def rebuild_each(
    new_learner: Callable[[], Learner],
    source: Log,
    snapshots: Snapshots,
    journal: Journal,
    settings: ProcessorSettings,
    versions: Sequence[int],
) -> Iterator[Rebuilt]:
    """Rebuild several versions, in rising order, in one pass: each event is learned once, however many are asked for.

    It begins with nothing if the journal reaches back so far, else with the newest kept version before the first.

    Raises:
        UnknownVersion: No kept version lies before it, and the journal does not reach back to the beginning.
        HistoryLost: The log does not have the records any more.
        JournalError: The journal ends before this version, or is damaged.
    """
    begin = journal.begins_after()
    processor = Processor(new_learner(), source, _LookingOn(snapshots), settings, journal=journal, make=new_learner)
    if begin == 0:
        base = 0
        processor.start_at(before_the_first(journal))
    else:
        older = [kept for kept in snapshots.manifests() if (begin or 0) <= kept.version < versions[0]]
        if not older:
            raise UnknownVersion(
                f"version {versions[0]} cannot be rebuilt: the journal begins after version {begin}, "
                f"and no older version is kept to begin with"
            )
        base = older[-1].version
        kept = snapshots.load(base)
        processor.load(kept.manifest, kept.parts)
    before = processor.events_learned
    for version in versions:
        processor.replay(upto=version)
        if processor.version != version:
            raise JournalError(f"the journal ends at version {processor.version}, before {version}")
        yield Rebuilt(base, processor.state_sha256, processor.events_learned - before)
