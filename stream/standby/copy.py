"""A shard's folder kept as the object store has it: its newest version, and the journal since.

The store is only read. Whoever takes the shard over goes on from the folder, as after a restart.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import structlog

from thalweg.memory.objects.objects import Listed
from thalweg.memory.snapshots.remote import DamagedHead, RemoteSnapshots
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.stream.journal.entries import Entry
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.journal.journal import JournalError, consecutive
from thalweg.stream.journal.segments import read_segments
from thalweg.stream.journal.tail import Tail, put_tail
from thalweg.stream.standby.averaged import Averaged
from thalweg.stream.standby.marks import copied_generation, kept_generation, mark_copied

log = structlog.get_logger(__name__)

JOURNAL = "journal"
"""In a model's folder: its journal."""
_OF_LEARNING = ("stopped.json", "attempt.bin", "attempted.json")
"""Files of whoever learned here before, which say nothing of a copy."""


class ShardCopy:
    """The copy of one shard. Used by one thread at a time.

    Args:
        remote: The shard's snapshots in the store.
        folder: Its folder here.
    """

    def __init__(self, remote: RemoteSnapshots, folder: Path) -> None:
        self._remote, self.folder = remote, folder
        self.snapshots = FolderSnapshots(folder)
        self.journal = FileJournal(folder / JOURNAL, read_only=True)
        self._averaged = Averaged(remote, folder / JOURNAL)
        self._have: tuple[int, int] | None = None
        self._damaged: tuple[int, int] | None = None
        self._listed: Listed | None = None
        self.problem = ""
        """Why the copy is not what its owner has; empty: it is, as far as that was uploaded."""

    @property
    def model(self) -> str:
        """The shard's name."""
        return self._remote.model

    @property
    def version(self) -> int | None:
        """The version that is here; None if there is none."""
        return max((manifest.version for manifest in self.snapshots.manifests()), default=None)

    def entries(self) -> list[Entry]:
        """The entries of the journal here, as far as it is whole; without what they brought along, which is not needed
        of those that led to the version here.
        """
        found: list[Entry] = []
        begin = self.journal.begins_after()
        if begin is not None:
            try:
                lines = read_segments(self.folder / JOURNAL, begin, torn_end=True)
                found.extend(consecutive(lines, begin, str(self.folder / JOURNAL)))
            except JournalError as error:
                self.problem = str(error)
        return found

    def look(self, *, last: bool = False) -> bool:
        """Copy what is new; whether anything was. `last`: only what is needed to go on from here.

        Raises:
            ObjectsUnavailable: What there was stays.
            DamagedHead: With `last`: the newest version in the store is damaged, and there is none here.
            OSError: The folder cannot be written.
        """
        heads = self._remote.heads()
        if not heads:
            self.problem = "the object store has nothing of it (any more)"
            return False
        newest = heads[-1]
        if copied_generation(self.folder) is None and not self._let_go(heads):
            return False
        self.problem = ""
        listed = self._remote.journal_object(*newest)
        tail = None
        if listed is not None and (last or listed != self._listed or newest != self._have):
            tail = Tail.of(self._remote.content(listed))
        changed = self._take_version(newest, tail, last=last)
        if listed is None and self._have == newest:
            shutil.rmtree(self.folder / JOURNAL, ignore_errors=True)
        if tail is not None and self._put(tail, newest):
            self._listed, changed = listed, True
        return changed

    def _let_go(self, heads: list[tuple[int, int]]) -> bool:
        """Make the folder of an earlier owner a copy; False while it has what nobody has gone on from yet.

        What is in the store is overwritten, and anything else set aside.
        """
        version, own = self.version, kept_generation(self.folder)
        if version is not None:
            if not own:
                self.problem = f"{self.folder} has a state that is of no owner in the object store: move it away"
                return False
            if heads[-1][0] <= own:
                self.problem = "nobody has gone on yet with what was learned here"
                return False
            entries = self.entries()
            if (own, version) not in heads or (entries and entries[-1].version > version):
                aside = self.folder.with_name(f"{self.folder.name}.superseded-{own}")
                shutil.rmtree(aside, ignore_errors=True)
                self.folder.rename(aside)
                log.warning(
                    "what was learned here last is in no object store: set aside",
                    model=self._remote.model,
                    kept=str(aside),
                )
            shutil.rmtree(self.folder / JOURNAL, ignore_errors=True)
        for name in _OF_LEARNING:
            (self.folder / name).unlink(missing_ok=True)
        mark_copied(self.folder, own)
        return True

    def _take_version(self, newest: tuple[int, int], tail: Tail | None, *, last: bool) -> bool:
        """Have the newest version here, if it is not; whether it was fetched."""
        if newest == self._have and self.version == newest[1]:
            return False
        self._have = None
        if newest == self._damaged:
            self.problem = "the newest version in the object store is damaged"
            if not last:
                return False
        if last and tail is not None and self._leads_to(tail, newest[0]):
            return False  # the rest of the journal is enough, and a version may be large
        try:
            head = self._remote.head(*newest)
            there = self.folder / str(head.version) / "manifest.json"
            fetched = not there.is_file() or there.read_text(encoding="utf-8") != head.manifest
            if fetched:
                self._remote.restore(head, self.folder)
        except DamagedHead as error:
            if newest != self._damaged:
                log.error("the newest version in the object store is damaged", problem=str(error))
            self._damaged, self.problem = newest, f"the newest version in the object store is damaged: {error}"
            if last and self.version is None:
                raise
            return False  # by the journal if it leads there, else from what is here
        for manifest in self.snapshots.manifests():
            if manifest.version != head.version:
                shutil.rmtree(self.folder / str(manifest.version), ignore_errors=True)
        if newest[0] != copied_generation(self.folder):
            mark_copied(self.folder, newest[0])
        self._have = newest
        return fetched

    def _leads_to(self, tail: Tail, generation: int) -> bool:
        """Whether version and journal of this folder and `tail` follow each other, and are of one history."""
        version, here = self.version, {entry.version: entry for entry in self.entries()}
        if version is None or max([version, *here]) < tail.begin:
            return False
        common = [entry for entry in tail.entries() if entry.version in here]
        if any(here[entry.version] != entry for entry in common):
            return False
        return bool(common) or generation == copied_generation(self.folder)

    def _put(self, tail: Tail, newest: tuple[int, int]) -> bool:
        """Have this tail here, if something here leads to it."""
        version = self.version
        whole = version is not None and newest == self._have and tail.begin <= version
        if version is None or not (whole or self._leads_to(tail, newest[0])):
            self.problem = self.problem or "its journal does not reach back to the version that is here"
            return False
        tail, missing = self._averaged.fetch(tail, version)
        if missing is not None:
            self.problem = f"what version {missing} has averaged is not in the object store"
        put_tail(self.folder / JOURNAL, tail, version)
        return True
