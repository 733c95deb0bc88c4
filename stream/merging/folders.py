"""The shards of a model in the live folder of this host: its own, and those that a relay has copied."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from thalweg.memory.snapshots.state import DamagedFile, State, read_state
from thalweg.stream.merging.ports import ShardState
from thalweg.stream.publication.announcement import ANNOUNCEMENT, Slot, newest_slot
from thalweg.stream.publication.ports import VersionInfo
from thalweg.stream.shards.names import shard_name, shard_of


@dataclass(slots=True)
class _Shard:
    folder: Path
    looked: bytes = b""
    """The announcement that was looked at last."""
    file: tuple[int, int] = (-1, -1)
    """The announcement file and the number of the state file that `state` was read from, or that is damaged."""
    info: VersionInfo | None = None
    state: State | None = None
    problem: str = ""
    damaged: bool = False
    """Whether `file` is damaged: announced again, it still is."""
    given: ShardState = field(default_factory=lambda: ShardState(None))


class FolderShards:
    """Reads `live/M~P` of each partition P, as `ShardPublisher` writes them.

    A state is a map of its file, which stays readable after a newer one has replaced it. A shard whose folder vanishes
    keeps its last state.

    Args:
        live: The live folder.
        model: Name of the model.
    """

    def __init__(self, live: Path, model: str) -> None:
        self._live, self._model = live, model
        self._shards: dict[int, _Shard] = {}

    def newest(self) -> Mapping[int, ShardState]:
        """As of `ShardStates`."""
        self._find()
        return {number: self._look(shard) for number, shard in sorted(self._shards.items())}

    def close(self) -> None:
        """As of `ShardStates`: nothing is held but maps."""

    def _find(self) -> None:
        try:
            names = [path.name for path in self._live.iterdir()]
        except OSError:
            return  # the folder is being created again
        for name in names:
            found = shard_of(name)
            if found is not None and found[0] == self._model and name == shard_name(*found):
                self._shards.setdefault(found[1], _Shard(self._live / name))

    def _look(self, shard: _Shard) -> ShardState:
        problem = self._read(shard)
        if problem is not None:
            shard.problem = problem
        if (shard.given.info, shard.given.state, shard.given.problem) != (shard.info, shard.state, shard.problem):
            shard.given = ShardState(shard.info, shard.state, shard.problem)
        return shard.given

    def _read(self, shard: _Shard) -> str | None:
        """Read what is announced, if it is new. The problem with it, empty: none; None: nothing has changed."""
        path = shard.folder / ANNOUNCEMENT
        try:
            with path.open("rb") as file:
                announced, inode = file.read(), os.fstat(file.fileno()).st_ino
        except FileNotFoundError:
            shard.looked = b""
            return "it is not published on this host any more" if shard.info is not None else ""
        except OSError as error:
            shard.looked = b""  # which may pass, though nothing else is announced
            return f"its announcement cannot be read: {error}"
        if announced == shard.looked:
            return None
        slot = newest_slot(announced)
        if slot is None:
            return "" if not any(announced) else "its announcement is damaged"
        return self._take(shard, announced, slot, inode)

    def _take(self, shard: _Shard, announced: bytes, slot: Slot, inode: int) -> str | None:
        file = (inode, slot.file)
        if file == shard.file:
            shard.looked = announced
            if shard.damaged:
                return None
            shard.info = slot.info
            return ""
        try:
            state = read_state(shard.folder / f"{slot.file}.safetensors")
        except FileNotFoundError:
            return None  # a newer one has replaced it: look again
        except (DamagedFile, OSError) as error:
            shard.looked, shard.file, shard.damaged = announced, file, True
            return f"its version {slot.info.version} cannot be read: {error}"
        shard.looked, shard.file, shard.info, shard.state = announced, file, slot.info, state
        shard.damaged = False
        return ""
