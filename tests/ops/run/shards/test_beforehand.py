"""What a process has done before it is assigned its first shard."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ops.run.shards.test_shards import GROUP, TOPIC, appended, host
from tests.services.processes import until
from tests.stream.log.partitions import PartitionedLog
from thalweg.memory.objects.objects import Objects, ObjectsUnavailable
from thalweg.memory.snapshots import origin
from thalweg.stream.log.log import LogError


class _Taken:
    """Has all partitions of a group."""

    owned: frozenset[int] = frozenset()

    def assigned(self, numbers: object) -> None:
        """Not told on."""

    revoked = lost = assigned


def test_the_store_is_tried_and_the_code_hashed_while_it_waits_for_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = PartitionedLog(1)
    log.member(TOPIC, GROUP, "has it", _Taken()).poll(0.0)
    origin._always.cache_clear()
    tried = []
    check = Objects.check
    monkeypatch.setattr(Objects, "check", lambda self: (check(self), tried.append(self._sound)))
    with host(tmp_path, "second", log) as second:
        until("the store to be tried", lambda: tried == [True])
        until("the code to be hashed", lambda: origin._always.cache_info().currsize == 1)
        assert second.owned() == set()


def test_what_cannot_be_done_beforehand_is_told_by_the_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = PartitionedLog(1)
    appended(log, 10)

    def away(self: Objects) -> None:
        raise ObjectsUnavailable("the store is away")

    def silent() -> str:
        raise LogError("the log does not answer")

    monkeypatch.setattr(Objects, "check", away)
    monkeypatch.setattr(log, "cluster", silent)
    with host(tmp_path, "first", log) as first:
        until("its shard", lambda: first.owned() == {0})
        until("it to tell", lambda: any("the store is away" in one.reason for one in first.registry.report()))
