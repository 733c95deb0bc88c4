"""A process of an older version in a group whose shards a newer one has saved leaves them to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.ops.run.shards.test_shards import GROUP, Host, appended, configuration, counts, learned, told
from tests.services.processes import until
from tests.stream.log.partitions import PartitionedLog
from thalweg.memory.exchange.commands import InMemoryCommandQueue
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.models.contract import layouts
from thalweg.models.ridge.learner import Ridge
from thalweg.ops.run.learning import Learning
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.learn import fold, settings
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.log import Log

OLD = "snapshot_events = 777\n"
"""By which the older process is known here."""
REFUSED = "has state revision 2 of ridge, this version reads up to 1"


@contextmanager
def host(folder: Path, name: str, log: Log, more: str = "") -> Iterator[Host]:
    config = configuration(folder, name, more=more)
    registry, live = HealthRegistry(), Path(config.service.state_dir) / "live"
    live.mkdir(parents=True, exist_ok=True)
    learning = Learning(config, log, InMemoryCommandQueue(), live, registry)
    learning.start()
    try:
        yield Host(config, learning, registry)
    finally:
        learning.close()


@pytest.fixture(autouse=True)
def _two_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """All processes save revision 2, and the older one reads revision 1."""
    real, older = settings.check_settings, [False]
    declared = layouts._declared

    def check(manifest: Manifest, of: ProcessorSettings) -> None:
        older[0] = of.snapshot_events == 777
        try:
            real(manifest, of)
        finally:
            older[0] = False

    monkeypatch.setattr(Ridge, "state_revision", 2)
    monkeypatch.setattr(fold, "check_settings", check)
    monkeypatch.setattr(
        layouts,
        "_declared",
        lambda learner, around: {
            part: (version, 1 if older[0] and part == "ridge" else revision)
            for part, (version, revision) in declared(learner, around).items()
        },
    )


def test_it_leaves_the_group_says_so_and_the_newer_one_learns_every_shard(tmp_path: Path) -> None:
    log = PartitionedLog(2)
    appended(log, 100)
    with ExitStack() as stack:
        new = stack.enter_context(host(tmp_path, "new", log))
        until("learned", lambda: all(learned([new], n) == c for n, c in counts(log).items()))
        old = stack.enter_context(host(tmp_path, "old", log, OLD))

        reason = until("the older one to leave", lambda: REFUSED in told(old, "clicks") and told(old, "clicks"))

        log.groups[GROUP].expel(old.member)  # as after the time of its session
        until("the newer one to have all", lambda: new.owned() == {0, 1} and old.owned() == set())
        appended(log, 100, 100)
        until("learned", lambda: all(learned([new], n) == c for n, c in counts(log).items()))
    assert reason.startswith("left the group, so that another process may learn it: model 'clicks~")
    assert "go back to the version of thalweg that saved it" in reason


def test_alone_it_learns_the_shards_that_it_can_read_and_names_the_others(tmp_path: Path) -> None:
    log = PartitionedLog(1)
    appended(log, 50)
    with host(tmp_path, "new", log) as new:
        until("learned", lambda: learned([new], 0) == 50)
    log.groups[GROUP].expel(new.member)
    log.add(1)
    with host(tmp_path, "old", log, OLD) as old:
        appended(log, 100, 50)

        until("it to be told", lambda: REFUSED in told(old, "clicks~0"))
        until("the other shard to be learned", lambda: learned([old], 1) == counts(log)[1] > 0)

        assert told(old, "clicks") == ""
        assert old.owned() == {0, 1}
