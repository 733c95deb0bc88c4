"""A shard in processes that can be killed at any moment: whoever learns it, and whoever follows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.stream.chain import Chain
from tests.stream.learn.test_processor import event
from thalweg.memory.folder_lock import FolderLock
from thalweg.memory.objects.objects import Objects
from thalweg.memory.snapshots.remote import RemoteSnapshots, Superseded
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.models.contract.learner import Learner
from thalweg.stream.health.registry import Health
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.learn.fold import Fold
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.saving.mirror import Mirror
from thalweg.stream.learn.saving.warm import Warm
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Log
from thalweg.stream.standby.copy import ShardCopy
from thalweg.stream.standby.follower import Follower
from thalweg.stream.standby.warm import WarmFold

MODEL = "m~0"
SETTINGS = ProcessorSettings(
    model=MODEL, topic="t", batch_events=4, batch_seconds=0, idle_seconds=0, snapshot_events=12, snapshot_seconds=1e9
)


_OPEN: list[Owner] = []


def close_all() -> None:
    """Close what killed processes left open, as their system does."""
    while _OPEN:
        _OPEN.pop().kill()


class Owner:
    """Learns the shard in a folder; it is killed by not being used any more.

    Args:
        folder: Its folder.
        url: Of the object store.
        log: The log.
        follower: Has followed the shard in this folder.
        new: Makes its learner.
        ports: What it is told by others.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        log: Log,
        follower: Follower | None = None,
        new: Callable[[], Learner] = Chain,
        ports: Ports | None = None,
    ) -> None:
        self.folder = folder
        self.superseded = False
        self.mirror = Mirror(
            RemoteSnapshots(Objects(url, retry_seconds=0.0), MODEL),
            FolderSnapshots(folder),
            (),
            Health("object_store", MODEL),
            lambda error: None,
            None if follower is None else follower.copy,
        )
        self.mirror.begin(lambda seconds: True)
        self.warm: Warm | None = None if follower is None else follower.taken()
        snapshots = FolderSnapshots(folder, 3)
        snapshots.prepare()
        learner = new() if self.warm is None else self.warm.fold.learner
        journal = FileJournal(folder / "journal")
        self.processor = Processor(
            learner, log, snapshots, SETTINGS, journal=journal, make=new, warm=self.warm, ports=ports or Ports()
        )
        self._following = self.processor.following()
        _OPEN.append(self)
        self._turn = self._following.__enter__()
        self.hashes = {self.processor.version: self.processor.state_sha256}

    def turn(self) -> bool:
        """Learn a block, if there is one; whether there was."""
        found = self._turn()
        self.hashes[self.processor.version] = self.processor.state_sha256
        return found

    def upload(self) -> None:
        """Upload what is saved, and the journal. It may turn out to be superseded."""
        self.processor._saver.wait()
        try:
            self.mirror.upload()
            self.mirror._journal_after = 0.0
            self.mirror._upload_journal()
        except Superseded:
            self.superseded = True

    @property
    def place(self) -> tuple[int, int, str]:
        """Version, learned events and hash of the state."""
        one = self.processor
        return one.version, one.events_learned, one.state_sha256

    def kill(self) -> None:
        """Close its files and save nothing."""
        self.processor._close_reader()
        self.processor._saver.close()
        self.processor._journal.close()

    def end(self) -> None:
        """Save and upload, as when a partition is revoked."""
        self._following.__exit__(None, None, None)
        self.processor._saving.save_last()
        self.processor._saver.close()
        self.processor._journal.close()
        self.upload()


def follower_of(folder: Path, url: str, log: Log, new: Callable[[], Learner] = Chain) -> Follower:
    """What follows the shard in a folder; it looks when it is asked to."""
    copy = ShardCopy(RemoteSnapshots(Objects(url, retry_seconds=0.0), MODEL), folder)

    def make(copy: ShardCopy) -> WarmFold:
        fold = Fold(new(), FolderSnapshots(folder), SETTINGS, make=new)
        return WarmFold(fold, copy, lambda after: log.reader(["t"], after))

    return Follower(copy, make, FolderLock(folder, "learner", "a standby"), Health("standby", MODEL))


def appended(log: InMemoryLog, first: int, count: int) -> int:
    """Append so many events; the number of the next one."""
    log.append("t", [event(i) for i in range(first, first + count)])
    return first + count
