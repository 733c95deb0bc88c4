"""A model's state in an object store: claimed and restored before it learns, uploaded as it is saved.

The folder of the model stays what the learner works with; the store is told afterwards, by a thread of its own, so that
a store that is slow, full or away costs the learner nothing.
"""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from thalweg.memory.objects.objects import ObjectsUnavailable
from thalweg.memory.objects.together import together
from thalweg.memory.snapshots.remote import DamagedHead, Head, OtherCluster, RemoteSnapshots, Superseded
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.stream.health.registry import Health
from thalweg.stream.journal.tail import Tail, restore_tail, tail, tail_mark
from thalweg.stream.log.log import LogError
from thalweg.stream.standby.averaged import Averaged, upload_averaged
from thalweg.stream.standby.copy import JOURNAL, ShardCopy
from thalweg.stream.standby.marks import copied_generation, kept_generation, mark_copied, mark_owned

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 1.0
_JOURNAL_BYTES_PER_SECOND = 1 << 20
_LONGEST_WAIT_SECONDS = 30.0
_LOG_SECONDS = 2.0
"""The longest wait for a log that does not tell its cluster: nothing is claimed meanwhile, and to ask costs little."""
_OVERLAP_SECONDS = 5.0
"""For so long the journal of a version that was uploaded reaches back to the one before it."""
OWN_SECONDS = 10.0
"""Between two looks for other owners while there is nothing to upload."""


class TwoStates(Exception):
    """The folder has a state, and the store one of somebody else; the message says what to do."""


class Mirror:
    """Keeps one model's snapshots in a store.

    Args:
        remote: The model's snapshots in the store.
        snapshots: Those of the folder.
        beside: Files of the model's folder that belong to its state.
        health: Its health.
        ended: Called when another owner has taken over, with the error.
        copy: Has kept the folder as the store has it until now; None: nobody has.
        cluster: The id of the log's cluster, see `Log.cluster`.
        moved_from: The cluster from which the model is moved to this one; empty: none.
    """

    def __init__(
        self,
        remote: RemoteSnapshots,
        snapshots: FolderSnapshots,
        beside: Sequence[str],
        health: Health,
        ended: Callable[[Superseded], None],
        copy: ShardCopy | None = None,
        cluster: Callable[[], str | None] = lambda: None,
        moved_from: str = "",
    ) -> None:
        self._cluster, self._moved_from = cluster, moved_from
        self._remote, self._snapshots, self._health, self._ended = remote, snapshots, health, ended
        self._folder, self._copy = snapshots.folder, copy
        self._beside = [self._folder / name for name in beside]
        self._uploaded = self._earlier = -1
        self._owned = 0.0
        self._journal = b""
        self._mark: tuple[object, ...] = ()
        self._journal_after = 0.0
        self._stopping = threading.Event()

    # Before learning

    def begin(self, stop: Callable[[float], bool]) -> None:
        """Claim the model, and restore its newest state if this folder has none, or another owner went on meanwhile.

        Waits for the store where nothing can be done without it: while the folder has no state. With one it learns on
        from it, and the store is told when it is there again. Likewise for the log, which tells its cluster.

        Args:
            stop: Waits so many seconds; whether to give up.

        Raises:
            TwoStates: As it says.
            OtherCluster: The state in the store is learned from another cluster; nothing was claimed.
            ObjectsUnusable: The store cannot keep others from writing.
            OSError: The folder cannot be written.
        """
        wait = 0.2
        while True:
            try:
                self._claim()
                return
            except (ObjectsUnavailable, LogError) as error:
                if self._own_generation() is not None and self._has_state():
                    self._health.waiting(f"not uploaded: {error}")
                    return
                self._health.waiting(f"the newest state cannot be looked up: {error}")
                wait = min(wait, _longest_wait(error))
            if stop(wait):
                return
            self._health.beat()
            wait = 2 * wait

    def _claim(self) -> None:
        copied = copied_generation(self._folder)
        if copied is not None:
            self._take_over(copied)
            return
        self._remote.check()
        before = self._own_generation()
        others = self._remote.heads() if before is None and self._has_state() else []
        if others:
            raise TwoStates(
                f"{self._folder} has a state, and the object store one that is not of this folder (generation "
                f"{others[-1][0]}): move the folder away to go on from that in the store, or choose another state_url"
            )
        self._must_be_its_cluster()
        generation = self._remote.claim(self._who(), before or 0)
        head = self._remote.newest()
        if head is not None and (head.generation > (before or 0) or not self._has_state()):
            self._restore_from(head)
        mark_owned(self._folder, generation)
        self._health.running()

    def _take_over(self, copied: int) -> None:
        """Claim the model, and go on from the copy. That the store keeps others from writing was found out by whoever
        had the model before.
        """
        if not self._remote.generation:
            self._must_be_its_cluster()
            self._remote.claim(self._who(), copied)
        copy = self._copy or ShardCopy(self._remote, self._folder)
        try:
            copy.look(last=True)  # after the claim: what others upload from now on counts for nothing
        except DamagedHead:
            head = self._remote.newest()
            if head is None:
                raise ObjectsUnavailable("no version in the object store can be read") from None
            self._restore_from(head)
        if copy.problem:  # what is damaged may be a part of the next version, too
            self._remote.upload_anew()
        mark_owned(self._folder, self._remote.generation)
        self._health.running()

    def _must_be_its_cluster(self) -> None:
        """Raise OtherCluster if the state in the store is learned from another one; LogError, ObjectsUnavailable."""
        cluster = self._cluster()
        if cluster is not None:
            self._remote.learned_from(cluster, self._moved_from)

    def _who(self) -> str:
        return f"host {socket.gethostname()} pid {os.getpid()} folder {self._folder.absolute()}"

    def _restore_from(self, newest: Head) -> None:
        """Restore this version, or if it is damaged the newest one before it that is whole; what came since is learned
        again. Raises ObjectsUnavailable where none is.
        """
        head, again = newest, True
        while True:
            try:
                self._restore(head)
                return
            except DamagedHead as error:
                log.error(
                    "a version in the object store is damaged: using an older one",
                    model=self._remote.model,
                    problem=str(error),
                )
                self._remote.upload_anew()  # what is damaged may be a part of the next version, too
                if again:  # it may have been the reading
                    again = False
                    continue
                older, again = self._remote.newest((head.generation, head.version)), True
                if older is None:
                    raise ObjectsUnavailable(str(error)) from error
                head = older

    def _restore(self, head: Head) -> None:
        if self._has_state():
            aside = self._folder.with_name(f"{self._folder.name}.superseded-{self._own_generation()}")
            shutil.rmtree(aside, ignore_errors=True)
            self._folder.rename(aside)
            log.warning(
                "another owner went on with this model: its state replaces that of this folder",
                model=self._remote.model,
                kept=str(aside),
            )
        mark_copied(self._folder, head.generation)  # until it is whole: who dies before goes on as from a copy
        tails: list[bytes | None] = []
        fetched: list[Callable[[], None]] = [
            partial(self._remote.restore, head, self._folder),
            lambda: tails.append(self._remote.journal(head)),
        ]
        together(fetched)
        journal = Tail.of(tails[0])
        if journal is not None:
            journal, missing = Averaged(self._remote, self._folder / JOURNAL).fetch(journal, head.version)
            if missing is not None:
                log.warning(
                    "what was averaged is not in the object store: what followed is learned again without",
                    model=self._remote.model,
                    version=missing,
                )
            restore_tail(self._folder / JOURNAL, journal)
        log.info(
            "restored from the object store",
            model=self._remote.model,
            version=head.version,
            generation=head.generation,
        )

    def _has_state(self) -> bool:
        return bool(self._snapshots.manifests())

    def _own_generation(self) -> int | None:
        return kept_generation(self._folder) or None

    # While learning

    def run(self) -> None:
        """Upload what is saved until `stop`, and then once more."""
        wait = _LOOK_SECONDS
        while True:
            stopping = self._stopping.is_set()
            try:
                with self._health.slow():  # a large state, or a slow store: each request has a bound of its own
                    self.upload()
                    self._upload_journal()
                wait = _LOOK_SECONDS
                if self._remote.undeleted:
                    self._health.degraded(self._remote.undeleted)
                else:
                    self._health.running()
            except (ObjectsUnavailable, LogError) as error:
                self._health.waiting(f"version {self._uploaded} is the last one uploaded: {error}")
                wait = min(2 * wait, _longest_wait(error))
            except Superseded as error:
                log.error(str(error))
                self._health.ended(str(error))
                self._ended(error)
                return
            if stopping:
                return
            self._stopping.wait(wait)

    def stop(self) -> None:
        """Ask `run` to return."""
        self._stopping.set()

    def upload(self) -> bool:
        """Upload the newest version unless it is there; whether one was uploaded.

        Raises:
            Superseded, ObjectsUnavailable: As of `RemoteSnapshots.save`.
            LogError: The log did not tell its cluster at the start, and does not yet.
        """
        if not self._remote.generation:
            self._claim_late()
        newest = self._snapshots.newest_listed()
        if newest not in (-1, self._uploaded):
            newest = max((manifest.version for manifest in self._snapshots.manifests()), default=-1)
        if newest == self._uploaded or newest < 0:
            if newest < 0 or time.monotonic() - self._owned < OWN_SECONDS:
                return False
            self._owned = time.monotonic()
            if self._remote.must_own():
                return False
        earlier = self._uploaded
        content = self._tail(newest, earlier)
        if content is not None:
            upload_averaged(self._remote, self._folder / JOURNAL, content)
        ending = self._stopping.is_set()  # others may be waiting for it
        try:
            self._remote.save(self._folder / str(newest), self._beside, content, prune=not ending)
        except FileNotFoundError:  # a newer one has replaced it
            return False
        self._uploaded, self._owned = newest, time.monotonic()
        self._earlier, self._journal = earlier, content or b""
        return True

    def _upload_journal(self) -> None:
        """Upload what was learned since the version in the store, so that another host learns the same blocks again.

        A long journal is uploaded less often. Raises ObjectsUnavailable.
        """
        if self._uploaded < 0 or time.monotonic() < self._journal_after:
            return
        recent = time.monotonic() - self._owned < _OVERLAP_SECONDS
        mark = (self._uploaded, recent, tail_mark(self._folder / JOURNAL))
        if mark == self._mark:  # nothing was learned since: most of many shards are idle
            return
        content = self._tail(self._uploaded, self._earlier if recent else -1)
        if content is not None and content != self._journal:
            self._save_journal(self._uploaded, content)
            self._journal = content
            self._journal_after = time.monotonic() + len(content) / _JOURNAL_BYTES_PER_SECOND
        self._mark = mark

    def _save_journal(self, version: int, content: bytes) -> None:
        upload_averaged(self._remote, self._folder / JOURNAL, content)
        self._remote.save_journal(version, content)

    def _tail(self, version: int, earlier: int) -> bytes | None:
        """The journal from a version on, or from the one uploaded before it, if there is one: who follows that one can
        then follow this one without loading it.
        """
        content = tail(self._folder / JOURNAL, min(version, earlier)) if earlier >= 0 else None
        return tail(self._folder / JOURNAL, version) if content is None else content

    def _claim_late(self) -> None:
        """Claim what could not be claimed at the start, if nobody else has since."""
        self._remote.check()
        try:
            self._must_be_its_cluster()
        except OtherCluster as error:
            raise Superseded(str(error)) from error
        before = self._own_generation() or 0
        if any(generation > before for generation, _ in self._remote.heads()):
            raise Superseded(f"{self._folder}: another owner has uploaded a state since this one last did")
        mark_owned(self._folder, self._remote.claim(f"host {socket.gethostname()} pid {os.getpid()}"))


def _longest_wait(error: Exception) -> float:
    return _LOG_SECONDS if isinstance(error, LogError) else _LONGEST_WAIT_SECONDS
