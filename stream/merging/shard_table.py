"""What is known of each shard of a model: what is merged, what is newer, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thalweg.memory.snapshots.state import State
from thalweg.models.contract.layouts import KEY as LAYOUTS
from thalweg.models.contract.layouts import REVISIONS, OtherLayout, check_layouts
from thalweg.stream.merging.ports import ShardState
from thalweg.stream.publication.ports import VersionInfo


@dataclass(frozen=True, slots=True)
class Taken:
    """A state of a shard that is to be merged, or is."""

    info: VersionInfo
    state: State


class ShardTable:
    """The shards of one model.

    Args:
        noted: Meta that states must have: layouts, and settings by which states are of one model.
        away_seconds: A shard of which nothing is heard for this long is away: one that works confirms its version.
    """

    def __init__(self, noted: Mapping[str, Any], away_seconds: float) -> None:
        self._noted, self._away_seconds = noted, away_seconds
        self.taken: dict[int, Taken] = {}
        """The newest usable state of each shard."""
        self._good: dict[int, Taken] = {}  # those that were merged last
        self._refused: dict[int, tuple[State, str]] = {}
        self._heard: dict[int, tuple[VersionInfo, float]] = {}

    def look(self, found: Mapping[int, ShardState], now: float) -> dict[int, str]:
        """Take what is new, at this time (monotonic seconds); the shards that something is wrong with, and what."""
        problems = {}
        for number, shard in found.items():
            if problem := self._take(number, shard) or shard.problem or self._silent(number, shard, now):
                problems[number] = problem
        return problems

    @property
    def versions(self) -> dict[int, int]:
        """The versions of the newest usable states."""
        return {number: one.info.version for number, one in self.taken.items()}

    def states(self) -> dict[int, State]:
        """The newest usable states."""
        return {number: one.state for number, one in self.taken.items()}

    def refuse(self, refused: Mapping[int, str]) -> None:
        """These states cannot be merged: take those that were merged before, where there are any."""
        for number, why in refused.items():
            self._refused.setdefault(number, (self.taken[number].state, why))
            good = self._good.get(number)
            if good is None or good.state is self.taken[number].state:
                del self.taken[number]
            else:
                self.taken[number] = good

    def merged(self) -> None:
        """All that is taken was merged."""
        self._good = dict(self.taken)

    def _take(self, number: int, shard: ShardState) -> str:
        """Take the newest state of a shard; why not, in one line, where it cannot be merged."""
        if shard.info is None or shard.state is None:
            return "" if shard.problem else "nothing of it could be read yet"
        before, refused = self.taken.get(number), self._refused.get(number)
        if before is not None and before.state is shard.state:
            self.taken[number] = Taken(shard.info, shard.state)  # perhaps confirmed since
            return ""
        if refused is not None and refused[0] is shard.state:
            return refused[1]
        if why := self._unfit(shard.state):
            self._refused[number] = shard.state, why
            return why
        if before is not None and _fell_back(shard.info, before.info):
            events = f"{shard.info.learned_events} events, fewer than the {before.info.learned_events} that are merged"
            return f"its version {shard.info.version} holds {events}: it learns them again"
        self._refused.pop(number, None)
        self.taken[number] = Taken(shard.info, shard.state)
        return ""

    def _unfit(self, state: State) -> str:
        """Why a state is of another model or of another version of the software; empty: it is not."""
        try:
            check_layouts(state.meta, self._noted)
        except OtherLayout as error:
            return str(error)
        others = [
            f"{key} {state.meta.get(key)}, expected {value}"
            for key, value in self._noted.items()
            if key not in (LAYOUTS, REVISIONS) and state.meta.get(key) != value
        ]
        return f"it was made under other settings: {'; '.join(others)}" if others else ""

    def _silent(self, number: int, shard: ShardState, now: float) -> str:
        if shard.info is None:
            return ""
        heard = self._heard.get(number)
        if heard is None or heard[0] != shard.info:
            self._heard[number] = shard.info, now
            return ""
        silent = now - heard[1] > self._away_seconds
        return f"nothing was heard of it for more than {self._away_seconds:g} s" if silent else ""


def _fell_back(info: VersionInfo, than: VersionInfo) -> bool:
    """Whether a shard was moved to a host that had an earlier state, say, and learns again what is missing there."""
    return info.version < than.version and info.learned_events < than.learned_events
