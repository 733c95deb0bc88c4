"""Follows the shards of a model, merges what they have learned, and publishes one version of the model.

A version of the model is the sum of the versions of its shards: it grows whenever one does. It is as fresh as the least
fresh shard. A shard that is away, or whose state cannot be merged, is named, its last state stays merged, and the
others go on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import structlog

from thalweg.memory.snapshots.state import DamagedFile, State, read_state
from thalweg.models.contract.learner import Learner, Predictor
from thalweg.stream.health.registry import Health
from thalweg.stream.merging.only_merger import OnlyMerger
from thalweg.stream.merging.ports import ShardStates
from thalweg.stream.merging.shard_table import ShardTable
from thalweg.stream.merging.sums import MergedStates
from thalweg.stream.publication.file_channel import FilePublisher
from thalweg.stream.publication.live_folder import make_model_folder
from thalweg.stream.publication.ports import VersionInfo
from thalweg.stream.shards.vector import SHARDS, described, vector_of

log = structlog.get_logger(__name__)

_LOOK_SECONDS, _QUIET_LOOK_SECONDS = 0.02, 0.1
_QUIET_SECONDS = 1.0
"""After so long without news it looks less often."""
_AGAIN_SECONDS = 1.0
_AWAITED_SECONDS = 30.0
"""How long a new merger waits for shards that were in the last version, and after which a silent one is away."""


class _Merged:
    """A predictor whose state says which shards it was made of."""

    def __init__(self, predictor: Predictor, shards: Mapping[int, VersionInfo]) -> None:
        self._predictor, self._shards = predictor, shards

    def state(self) -> State:
        state = self._predictor.state()
        return State(state.tensors, {**state.meta, SHARDS: described(self._shards)})


class Merger:
    """Merges the shards of one model. `run` is one supervised thread, which begins from what is published. Of several
    on a host, in processes of their own, one merges, and another goes on when it ends.

    Args:
        make: Makes a new learner of the model.
        shards: Its shards.
        folder: The model's folder in the live folder: `live/M`.
        seconds: Between two versions, at least; at most half of the time is spent on merging.
        health: Names the shards that are away.
        stopping: Set: `run` returns.
        partitions: The numbers of the shards that there should be, if that is known.
        noted: Meta that the states of shards have, and that merged versions get; states without it are refused.
        awaited_seconds: How long a new merger waits for shards that were in the last version, and after which a
            shard of which nothing is heard is away.
        clock: Unix seconds.
        ticks: Monotonic seconds.
    """

    def __init__(
        self,
        make: Callable[[], Learner],
        shards: ShardStates,
        folder: Path,
        seconds: float,
        health: Health | None = None,
        stopping: threading.Event | None = None,
        partitions: Callable[[], Collection[int]] = tuple,
        noted: Mapping[str, Any] | None = None,
        awaited_seconds: float = _AWAITED_SECONDS,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sums = MergedStates(make)
        self._shards, self._folder, self._seconds = shards, folder, seconds
        self._health = health or Health("merger")
        self._stopping = stopping or threading.Event()
        self._partitions, self._noted = partitions, dict(noted or {})
        self._awaited_seconds, self._clock, self._ticks = awaited_seconds, clock, ticks
        self._table = ShardTable(self._noted, awaited_seconds)
        self._lock = OnlyMerger(folder / "merger.lock")
        self._publisher: FilePublisher | None = None
        self._shown: dict[int, int] = {}  # versions of shards in the version that is published
        self._least = 0  # of the next version: they grow, also where their folder was emptied
        self._missing: set[int] = set()  # of these, those that were not seen since the start
        self._begun = self._not_before = self._lively = ticks()

    def run(self) -> None:
        """Follow the shards until `stop`, then publish what they have handed on last."""
        try:
            while not self._stopping.is_set():
                if self.turn():
                    self._lively = self._ticks()
                quiet = self._ticks() - self._lively > _QUIET_SECONDS
                self._stopping.wait(min(_QUIET_LOOK_SECONDS if quiet else _LOOK_SECONDS, self._seconds))
            self._not_before = self._ticks()
            self.turn()
        finally:
            self.close()

    def stop(self) -> None:
        """Ask `run` to return."""
        self._stopping.set()

    def _begin(self) -> bool:
        """Open what is published; False while another process of this host merges the model. Raises OSError."""
        if self._publisher is not None and self._lock.kept():
            return True
        self._end()
        make_model_folder(self._folder)
        if not self._lock.taken():
            return False
        self._publisher = FilePublisher(self._folder, self._clock, noted=self._noted)
        self._shown = {} if self._publisher.shown() is None else self._shown_before()
        self._missing = set(self._shown)
        self._begun = self._not_before = self._ticks()
        return True

    def close(self) -> None:
        """Close; what is published stays, and another process may go on with it."""
        self._end()
        self._shards.close()

    def _end(self) -> None:
        if self._publisher is not None:
            self._publisher.close()
            self._publisher = None
        self._lock.release()

    def turn(self) -> bool:
        """Look at all shards once, and publish a version where there is news and it is due; whether one was.

        Raises:
            OSError: The folder of the model cannot be opened.
        """
        if not self._begin():
            self._health.running()  # the one that merges tells what there is to tell
            return False
        problems = self._table.look(self._shards.newest(), self._ticks())
        self._missing -= self._table.taken.keys()
        due = self._ticks() >= self._not_before and not self._awaits()
        published, failed = False, ""
        if due and self._table.taken and self._table.versions != self._shown:
            began, least = self._ticks(), self._least
            try:
                with self._health.slow():  # of many large states
                    problems |= self._publish()
                published = self._least > least
            except OSError as error:  # a full folder; the version before stays
                failed = f"a version cannot be published: {error}"
                log.error("cannot publish a merged version: servers keep the one before", problem=str(error))
            done = self._ticks()
            self._not_before = max(began + (_AGAIN_SECONDS if failed else self._seconds), done + (done - began))
        self._confirm()
        self._tell(problems, failed)
        return published

    def _awaits(self) -> bool:
        """Whether shards of the version that an earlier merger published may still come: without them it would know
        less than that one.
        """
        return bool(self._missing) and self._ticks() - self._begun < self._awaited_seconds

    def _publish(self) -> dict[int, str]:
        """Merge and publish; the shards whose newest state cannot be merged, and why. Raises OSError."""
        assert self._publisher is not None
        refused: dict[int, str] = {}
        while True:
            learner, wrong = self._sums.merged(self._table.states())
            if not wrong:
                break
            refused |= wrong
            self._table.refuse(wrong)  # those that were merged before instead
        if not self._table.taken or (refused and self._table.versions == self._shown):
            return refused
        infos = {number: one.info for number, one in self._table.taken.items()}
        shown = self._publisher.shown()
        least = max(self._least, 0 if shown is None else shown + 1)
        version = max(least, sum(info.version for info in infos.values()))
        self._publisher.publish(
            _Merged(learner.predictor(), infos),
            version=version,
            learned_events=sum(info.learned_events for info in infos.values()),
            event_time=max(info.event_time for info in infos.values()),
        )
        self._least = version + 1
        self._table.merged()
        self._shown = self._table.versions
        return refused

    def _confirm(self) -> None:
        """The published version is as fresh as the least fresh shard, if it is made of the newest of all of them."""
        taken = self._table.taken
        if not taken or self._absent() or self._table.versions != self._shown:
            return
        assert self._publisher is not None
        if (as_of := min(one.info.as_of for one in taken.values())) > 0:
            self._publisher.confirm(as_of)

    def _absent(self) -> set[int]:
        """Shards that there should be, and of which there is nothing."""
        return {*self._partitions(), *self._missing} - self._table.taken.keys()

    def _tell(self, problems: Mapping[int, str], failed: str) -> None:
        told = dict(problems)
        silent = sorted(self._absent() - told.keys())
        if len(silent) == 1:
            told[silent[0]] = "it has published nothing here yet"
        lines = [f"shard {number}: {why}{self._kept(number)}" for number, why in sorted(told.items())]
        if len(silent) > 1:
            lines.insert(0, f"shards {', '.join(map(str, silent))} have published nothing here")
        if failed:
            lines.insert(0, failed)
        if lines:
            self._health.degraded("; ".join(lines))
        elif self._table.taken:
            self._health.running()
        else:
            self._health.waiting("no shard has published anything yet")

    def _kept(self, number: int) -> str:
        one = self._table.taken.get(number)
        return "" if one is None else f" (its version {one.info.version} stays merged)"

    def _shown_before(self) -> dict[int, int]:
        """The shards of the version that is published; {} where that is of other settings or cannot be read."""
        files = [path for path in self._folder.glob("*.safetensors") if path.stem.isdigit()]
        try:
            state = read_state(max(files, key=lambda path: int(path.stem)))
            return vector_of(state) if all(state.meta.get(k) == v for k, v in self._noted.items()) else {}
        except (DamagedFile, OSError, ValueError, LookupError, TypeError):
            return {}
