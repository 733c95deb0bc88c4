"""Which versions of its shards a merged version of a model was made of, as its file says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thalweg.memory.snapshots.state import State
from thalweg.stream.publication.ports import VersionInfo

SHARDS = "shards"
"""In the meta of a merged version: by the number of a shard, what it has contributed."""


def described(shards: Mapping[int, VersionInfo]) -> dict[str, Any]:
    """What the meta of a merged version says about its shards."""
    return {
        str(number): {
            "version": info.version,
            "learned_events": info.learned_events,
            "event_time": info.event_time,
            "as_of": info.as_of,
        }
        for number, info in sorted(shards.items())
    }


def vector_of(state: State) -> dict[int, int]:
    """The versions of the shards that a published state was made of, by number; {} if it was not merged."""
    shards = state.meta.get(SHARDS)
    return {int(number): int(one["version"]) for number, one in shards.items()} if isinstance(shards, Mapping) else {}
