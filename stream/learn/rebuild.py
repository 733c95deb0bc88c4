"""Applies the journal's entries again: for the start after a crash, and to verify that a state follows from the log."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field

from thalweg.memory.snapshots.snapshots import Snapshots, UnknownVersion
from thalweg.memory.snapshots.state import State
from thalweg.models.contract.capabilities import computed_on
from thalweg.models.contract.learner import Learner
from thalweg.stream.journal.entries import BlockEntry, Control, Entry, RollbackEntry
from thalweg.stream.journal.journal import Journal, JournalError, before_the_first
from thalweg.stream.learn.blocks import Block, Replay
from thalweg.stream.learn.fold import Fold
from thalweg.stream.learn.outcome import Outcome
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.log import Log, Reader
from thalweg.stream.registry.schemas import KnownSchemas

BEGUN_ANEW = "a rollback to a version that is not kept any more, or the first one of another log or an older copy of it"
"""For people: what `begun_anew` finds."""


def apply_again(
    fold: Fold,
    journal: Journal,
    reader: Reader,
    *,
    upto: int | None = None,
    apply_block: Callable[[BlockEntry, Block], Outcome] | None = None,
    apply_control: Callable[[Control], Outcome] | None = None,
    give_up: Callable[[], bool] = lambda: False,
) -> Iterator[Outcome]:
    """Apply the journal's entries above the fold's version: the same blocks in the same order.

    Args:
        fold: The fold to apply them to.
        journal: Source of the entries.
        reader: Must be at the fold's position.
        upto: Ignore entries above this version.
        apply_block: Decodes and applies a block; None: the fold does.
        apply_control: Applies a control entry; None: the fold does.
        give_up: Called before every entry and while waiting for records; stops when true.

    Raises:
        HistoryLost: The log no longer has the records.
        JournalError: An entry is missing or damaged.
    """
    apply_block = apply_block or (lambda entry, block: fold.apply(fold.decode(entry, block)))
    apply_control = apply_control or (lambda entry: fold.apply(entry, repeated=True))
    replay = Replay(reader)
    for entry in journal.entries(fold.version):
        if (upto is not None and entry.version > upto) or give_up():
            return
        if isinstance(entry, BlockEntry):
            block = replay.block(entry, give_up)
            if block is None:
                return
            yield apply_block(entry, block)
        else:
            yield apply_control(entry)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The result of a rebuild."""

    base: int
    """The version of the snapshot it started from; 0: from an empty state."""
    state_sha256: str
    """Hash of the rebuilt state."""
    events: int
    """Events learned again."""
    state: State = field(compare=False)
    """The rebuilt state of the learner; its arrays change once the next version is asked for."""
    computed_on: str = ""
    """The GPU on which it was rebuilt; empty on the processor."""


def rebuild(
    new_learner: Callable[[], Learner],
    source: Log,
    snapshots: Snapshots,
    journal: Journal,
    settings: ProcessorSettings,
    version: int,
) -> Rebuilt:
    """Rebuild `version` from the journal: from an empty state if the journal reaches back so far, else from a snapshot.

    Nothing is saved, graded or published.

    Raises: as `rebuild_each`.
    """
    return next(rebuild_each(new_learner, source, snapshots, journal, settings, [version]))


def begun_anew(journal: Journal, kept: Collection[int]) -> list[int]:
    """The versions to which no rebuild leads, only on from them: those that rollbacks made whose target is not kept any
    more, and the empty blocks with which a state goes on in another log, or in an older copy of its own. In order; of a
    damaged journal those before the damage, which whoever rebuilds behind it is told.
    """
    found: list[int] = []
    entries = journal.entries(journal.begins_after() or 0)
    with suppress(JournalError):
        found.extend(one.version for one in entries if _begins_anew(one, kept))
    return found


def _begins_anew(entry: Entry, kept: Collection[int]) -> bool:
    if isinstance(entry, BlockEntry):
        return not entry.ranges
    return isinstance(entry, RollbackEntry) and entry.to not in kept


def rebuild_each(
    new_learner: Callable[[], Learner],
    source: Log,
    snapshots: Snapshots,
    journal: Journal,
    settings: ProcessorSettings,
    versions: Sequence[int],
    schemas: KnownSchemas | None = None,
    after: int = 0,
) -> Iterator[Rebuilt]:
    """Rebuild several versions, in rising order, in one pass that learns each event once.

    Starts with an empty state if the journal reaches back so far, else with the newest snapshot before the first
    version. `after`: with no older one than this version, as from `begun_anew`.

    Raises:
        StateMismatch: The snapshot it starts from, or one that was rolled back to, was made under other settings.
        UnknownVersion: No earlier snapshot exists, and the journal does not reach back to the beginning.
        HistoryLost: The log no longer has the records.
        JournalError: The journal ends before this version, or is damaged.
    """
    begin = journal.begins_after()
    fold = Fold(new_learner(), snapshots, settings, make=new_learner, schemas=schemas)
    if begin == after == 0:
        fold.start_at(before_the_first(journal))
    else:
        least = max(begin or 0, after)
        older = [kept for kept in snapshots.manifests() if least <= kept.version < versions[0]]
        if not older:
            raise UnknownVersion(
                f"version {versions[0]} cannot be rebuilt: the journal begins after version {begin}, "
                f"and there is no snapshot of an older version" + (f" from {after} on, {BEGUN_ANEW}" if after else "")
            )
        fold.load(snapshots.load(older[-1].version))
    base, before = fold.version, fold.learned
    with closing(source.reader(settings.topics, fold.end, "earliest", settings.group)) as reader:
        outcomes = apply_again(fold, journal, reader, upto=versions[-1])
        for version in versions:
            while fold.version < version and next(outcomes, None) is not None:
                pass
            if fold.version != version:
                raise JournalError(f"the journal ends at version {fold.version}, before {version}")
            state = fold.learner.state()
            yield Rebuilt(base, state.sha256(), fold.learned - before, state, computed_on(fold.learner))
