"""What a merger follows: the newest state of each shard, however it got to this host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from thalweg.memory.snapshots.state import State
from thalweg.stream.publication.ports import VersionInfo


@dataclass(frozen=True, slots=True)
class ShardState:
    """The newest state of a shard that could be read."""

    info: VersionInfo | None
    """What is said about it; None: none could be read yet."""
    state: State | None = None
    """Of its learner; the same object as long as it is the same state."""
    problem: str = ""
    """Why it may not be its newest one, in one line; empty: it is."""


class ShardStates(Protocol):
    """The shards of one model. One thread uses it."""

    def newest(self) -> Mapping[int, ShardState]:
        """Each shard by the number of its partition. Cheap where nothing has changed; raises nothing for one shard."""

    def close(self) -> None:
        """Release what it holds; states that were given stay usable."""
