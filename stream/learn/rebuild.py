"""The journal's entries once more: a start after a crash, and the proof that a state is what the log says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

from thalweg.memory.snapshots.snapshots import Snapshots, UnknownVersion
from thalweg.models.contract.learner import Learner
from thalweg.stream.learn.blocks import Block, DecodedBlock, Replay
from thalweg.stream.learn.fold import Fold
from thalweg.stream.learn.journal import BlockEntry, Journal, JournalError, before_the_first
from thalweg.stream.learn.outcome import Outcome
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.log import Log, Reader


def apply_again(
    fold: Fold,
    journal: Journal,
    reader: Reader,
    *,
    upto: int | None = None,
    decode: Callable[[BlockEntry, Block], DecodedBlock] | None = None,
    give_up: Callable[[], bool] = lambda: False,
) -> Iterator[Outcome]:
    """Apply the journal's entries above the fold's version, the very same blocks in the same order.

    Args:
        fold: Where it stands is where this begins.
        journal: What was done.
        reader: Stands where the fold does.
        upto: Not the entries above this version.
        decode: Instead of the fold's `decode`.
        give_up: Asked before every entry, and while records are awaited.

    Raises:
        HistoryLost: The log does not have the records any more.
        JournalError: An entry is missing or damaged.
    """
    decode = fold.decode if decode is None else decode
    replay = Replay(reader)
    for entry in journal.entries(fold.version):
        if (upto is not None and entry.version > upto) or give_up():
            return
        if isinstance(entry, BlockEntry):
            block = replay.block(entry, give_up)
            if block is None:
                return
            yield fold.apply(decode(entry, block))
        else:
            yield fold.apply(entry)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came of it."""

    base: int
    """The version it began with; 0: from nothing."""
    state_sha256: str
    """Of the rebuilt state."""
    events: int
    """Events learned again."""


def rebuild(
    new_learner: Callable[[], Learner],
    source: Log,
    snapshots: Snapshots,
    journal: Journal,
    settings: ProcessorSettings,
    version: int,
) -> Rebuilt:
    """Learn what the journal says led to `version`: from nothing if it reaches back so far, else from a kept version.

    Nothing is saved, graded or published.

    Raises:
        UnknownVersion: No kept version lies before it, and the journal does not reach back to the beginning.
        HistoryLost: The log does not have the records any more.
        JournalError: The journal ends before this version, or is damaged.
    """
    begin = journal.begins_after()
    fold = Fold(new_learner(), snapshots, settings, make=new_learner)
    if begin == 0:
        fold.start_at(before_the_first(journal))
    else:
        older = [kept for kept in snapshots.manifests() if (begin or 0) <= kept.version < version]
        if not older:
            raise UnknownVersion(
                f"version {version} cannot be rebuilt: the journal begins after version {begin}, "
                f"and no older version is kept to begin with"
            )
        fold.load(snapshots.load(older[-1].version))
    base, before = fold.version, fold.learned
    with closing(source.reader(settings.topics, fold.end, "earliest", settings.group)) as reader:
        for _ in apply_again(fold, journal, reader, upto=version):
            pass
    if fold.version != version:
        raise JournalError(f"the journal ends at version {fold.version}, before {version}")
    return Rebuilt(base, fold.learner.state().sha256(), fold.learned - before)
