"""A model that stays one, on several hosts: one of them learns it, and another goes on with its state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ops.run.shards.test_shards import TOPIC, appended, configuration, counts, keyed
from tests.services.processes import until
from tests.stream.log.partitions import PartitionedLog
from thalweg.memory.exchange.commands import InMemoryCommandQueue
from thalweg.memory.objects.objects import Objects
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.remote import RemoteSnapshots
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.ops.cli.produce import messages
from thalweg.ops.config.config import Config, load
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.config.hosts.warnings import host_warnings
from thalweg.ops.run.learning import Learning
from thalweg.ops.run.shards import running
from thalweg.ops.run.shards.group import group_of, instance_of, member_name
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Log

WHOLE = '[model.scale]\nby = "topic"\n'
GROUP = "thalweg.clicks.owner"


@dataclass
class Host:
    """One host's learner process."""

    config: Config
    registry: HealthRegistry
    folder: Path

    @property
    def member(self) -> str:
        """Its name in the group."""
        return member_name(self.config, self.config.model[0])

    @property
    def learns(self) -> bool:
        return self.reason("learner") is not None

    def reason(self, component: str) -> str | None:
        found = [one for one in self.registry.report() if (one.component, one.model) == (component, "clicks")]
        return f"{found[0].state.value} {found[0].reason}" if found else None

    @property
    def newest(self) -> Manifest | None:
        kept = FolderSnapshots(self.folder / "clicks").manifests()
        return kept[-1] if kept else None

    def has_learned(self, count: int) -> bool:
        newest = self.newest  # read once: the folder may be replaced meanwhile
        return newest is not None and newest.events_learned == count


@contextmanager
def host(folder: Path, name: str, log: Log, scale: str = WHOLE) -> Iterator[Host]:
    config = configuration(folder, name, scale)
    registry, live = HealthRegistry(), folder / name / "live"
    live.mkdir(parents=True, exist_ok=True)
    learning = Learning(config, log, InMemoryCommandQueue(), live, registry)
    learning.start()
    try:
        yield Host(config, registry, folder / name)
    finally:
        learning.close()


def test_one_host_learns_all_partitions_and_another_goes_on_with_its_state(tmp_path: Path) -> None:
    log = PartitionedLog(3)
    appended(log, 300)
    with ExitStack() as stack:
        first = stack.enter_context(host(tmp_path, "first", log))
        until("learned by the first", lambda: first.has_learned(300))
        second = stack.enter_context(host(tmp_path, "second", log))
        until("the second to be a member", lambda: second.member in log.groups[GROUP].members)
        owner, other = (first, second) if first.member < second.member else (second, first)
        until("one of them to learn it", lambda: owner.learns and not other.learns)
        appended(log, 200, 300)
        until("learned by it", lambda: owner.has_learned(500))
        before, store = owner.newest, RemoteSnapshots(Objects(f"file:{tmp_path}/objects"), "clicks")
        assert before is not None
        until("it to be in the store", lambda: [one[1] for one in store.heads()[-1:]] == [before.version])

        log.groups[GROUP].expel(owner.member)

        until("the other to take over", lambda: other.has_learned(500))
        assert other.newest is not None
        assert other.newest.state_sha256 == before.state_sha256
        appended(log, 100, 500)
        until("learned by the other", lambda: other.has_learned(600))
        until(
            "the store to tell the former", lambda: (owner.reason("learner") or "").startswith("waiting the group is")
        )
        version = other.newest.version
        until("the store to have the other's", lambda: store.heads()[-1] == (store._owners()[-1], version))
    assert sum(counts(log).values()) == 600


def test_what_sends_its_versions_is_heard_of_after_it_has_moved(tmp_path: Path) -> None:
    log = PartitionedLog(1)
    appended(log, 50)
    later, sooner = sorted(
        ("first", "second"), key=lambda name: instance_of(configuration(tmp_path, name, WHOLE)), reverse=True
    )
    with host(tmp_path, later, log) as former:
        until("learned by one", lambda: former.has_learned(50))
        former.registry.register("relay", "clicks").degraded("as its sender says")  # which runs on

        with host(tmp_path, sooner, log):
            until("the other to have it", lambda: not former.learns)

        assert former.reason("relay") == "degraded as its sender says"


def test_a_host_that_does_not_learn_it_says_so_and_is_well(tmp_path: Path) -> None:
    log = PartitionedLog(1)
    appended(log, 50)
    with host(tmp_path, "first", log) as first, host(tmp_path, "second", log) as second:
        until("one to learn it", lambda: first.learns != second.learns)
        idle = second if first.learns else first
        until("both to be members", lambda: all(one.reason("owner") == "running " for one in (first, second)))

    assert {one.component for one in idle.registry.report() if one.model == "clicks"} == {"owner"}


def test_a_model_of_one_host_goes_on_with_its_state_on_several(tmp_path: Path) -> None:
    log = PartitionedLog(2)
    appended(log, 100)
    states = []
    for scale in ("", WHOLE, ""):
        with host(tmp_path, "only", log, scale) as only:
            until("learned", lambda only=only: only.has_learned(100))
            assert only.newest is not None
            states.append((only.newest.version, only.newest.state_sha256))
    assert len(set(states)) == 1


def test_a_stranger_does_not_keep_a_model_that_the_group_has_not_given_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "TOLD_SECONDS", 0.1)
    log = PartitionedLog(2)
    appended(log, 100)
    with host(tmp_path, "first", log) as first:
        until("learned", lambda: first.has_learned(100))
        RemoteSnapshots(Objects(f"file:{tmp_path}/objects"), "clicks").claim("a stranger")
        appended(log, 100, 100)
        until("it to go on as the owner", lambda: first.has_learned(200))


def test_while_there_is_no_topic_its_owner_waits(tmp_path: Path) -> None:
    log, missing = InMemoryLog(), f"topic {TOPIC!r} does not exist (or has no partitions) yet"
    with host(tmp_path, "first", log) as first:
        until("it waits", lambda: first.reason("owner") == f"waiting {missing}")
        log.append(TOPIC, messages(keyed(10), 1))
        until("it learns", lambda: first.has_learned(10))


def test_a_host_whose_configuration_blocks_the_model_leaves_it_to_another(tmp_path: Path) -> None:
    log = PartitionedLog(2)
    appended(log, 100)
    with host(tmp_path, "former", log) as former:
        until("learned", lambda: former.has_learned(100))
    for member in list(log.groups[GROUP].members):
        log.groups[GROUP].expel(member)
    with host(tmp_path, "former", log, "seed = 5\n" + WHOLE) as changed:
        until("it to leave", lambda: (changed.reason("owner") or "").startswith("failed left the group, so that"))
        assert "seed" in (changed.reason("owner") or "")
        for member in list(log.groups[GROUP].members):  # its session ends
            log.groups[GROUP].expel(member)
        with host(tmp_path, "sound", log) as sound:
            until("the other to have its state", lambda: sound.has_learned(100))
            appended(log, 50, 100)
            until("the other to go on", lambda: sound.has_learned(150))
        assert changed.reason("learner") is None


def test_what_only_shards_have_is_refused_of_a_model_that_stays_one(tmp_path: Path) -> None:
    for more in ('answers = "key"', "merge_seconds = 2.0", 'without_key = "mean"'):
        with pytest.raises(ConfigurationError, match=r"expected by = 'partition' with"):
            configuration(tmp_path, "only", WHOLE + more + "\n")
    assert configuration(tmp_path, "only", WHOLE, more='start = "latest"\n').model[0].sharded is None


def test_models_that_nobody_takes_over_are_advised_to_be_shared(tmp_path: Path) -> None:
    def warnings(scale: str, service: str) -> str:
        path = tmp_path / "warned.toml"
        path.write_text(
            f'[service]\n{service}[log]\nurl = "kafka://127.0.0.1:1"\n[[model]]\nname = "a"\nlearner = "ridge"\n'
            f'topic = "t"\ninputs.features = {{ shape = [2] }}\n{scale}'
        )
        return "\n".join(host_warnings(load(path, {})))

    state = 'state_url = "file:objects"\n'
    assert warnings(WHOLE, f'role = "learn"\n{state}') == ""
    assert "takes over begins anew" in warnings(WHOLE, "")
    assert "stands still while another learns" in warnings(WHOLE, state)


def test_its_group_is_another_than_the_one_that_shows_its_lag(tmp_path: Path) -> None:
    """Which takes positions from no member, as of any model that is learned whole."""
    assert group_of(configuration(tmp_path, "only", WHOLE).model[0]) == GROUP
