"""Shards in learner processes: each partition is learned by one of them, moves with its state, and is learned once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.samples import FEATURES, events
from tests.services.processes import until
from tests.stream.log.partitions import PartitionedLog
from thalweg.memory.exchange.commands import InMemoryCommandQueue
from thalweg.memory.objects.objects import Objects
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.remote import RemoteSnapshots
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.ops.cli.produce import messages
from thalweg.ops.config.config import Config, load
from thalweg.ops.run.app import new_learner
from thalweg.ops.run.learning import Learning
from thalweg.ops.run.shards import running
from thalweg.ops.run.shards.group import group_of, instance_of, member_name
from thalweg.ops.run.shards.known import passed_over
from thalweg.proto.event import Batch
from thalweg.proto.records import Partition
from thalweg.stream.health.registry import ComponentHealth, HealthRegistry
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Log

TOPIC, GROUP = "clicks.events", "thalweg.clicks"


@dataclass
class Host:
    """One host's learner process."""

    config: Config
    learning: Learning
    registry: HealthRegistry

    @property
    def member(self) -> str:
        """Its name in the group."""
        return member_name(self.config, self.config.model[0])

    def owned(self) -> set[int]:
        """The partitions whose shards have a health here."""
        names = [one.model for one in self.registry.report() if one.component == "learner"]
        return {int(name.rpartition("~")[2]) for name in names if "~" in name}

    def health(self, model: str) -> ComponentHealth | None:
        return next((one for one in self.registry.report() if (one.component, one.model) == ("learner", model)), None)

    def newest(self, number: int) -> Manifest | None:
        kept = FolderSnapshots(Path(self.config.service.state_dir) / f"clicks~{number}").manifests()
        return kept[-1] if kept else None


def configuration(folder: Path, name: str, scale: str = '[model.scale]\nanswers = "key"\n', more: str = "") -> Config:
    path = folder / f"{name}.toml"
    path.write_text(
        f'[service]\nstate_dir = "{folder}/{name}"\nstate_url = "file:{folder}/objects"\n'
        f'[[model]]\nname = "clicks"\nlearner = "ridge"\ntopic = "{TOPIC}"\nsnapshot_seconds = 0.1\nbatch_events = 10\n'
        f'inputs.features = {{ shape = [{FEATURES}], dtype = "float32" }}\n{more}{scale}'
    )
    return load(path, {})


@contextmanager
def host(folder: Path, name: str, log: Log) -> Iterator[Host]:
    config = configuration(folder, name)
    registry, live = HealthRegistry(), Path(config.service.state_dir) / "live"
    live.mkdir(parents=True, exist_ok=True)
    learning = Learning(config, log, InMemoryCommandQueue(), live, registry)
    learning.start()
    try:
        yield Host(config, learning, registry)
    finally:
        learning.close()


def keyed(count: int, first: int = 0) -> Batch:
    return replace(events(count, first, seed=first), keys=[f"user-{row % 17}" for row in range(count)])


def appended(log: PartitionedLog, count: int, first: int = 0) -> None:
    log.append(TOPIC, messages(keyed(count, first), 1))


def version_of(manifest: Manifest | None) -> int:
    return -1 if manifest is None else manifest.version


def waits(one: Host, number: int) -> bool:
    health = one.health(f"clicks~{number}")
    return health is not None and health.reason.startswith("the group is asked whose it is: model 'clicks~")


def told(one: Host, model: str) -> str:
    health = one.health(model)
    return "" if health is None else health.reason


def counts(log: PartitionedLog) -> dict[int, int]:
    return {part.number: end for part, (_, end) in log.bounds(TOPIC).items()}


def learned(hosts: list[Host], number: int) -> int:
    """Events in the newest state of a partition, whoever has it."""
    found = [one.events_learned for host in hosts if (one := host.newest(number)) is not None]
    return max(found, default=0)


def test_every_partition_is_learned_once_while_hosts_come_and_go(tmp_path: Path) -> None:
    log = PartitionedLog(4)
    appended(log, 400)
    with ExitStack() as stack:
        first = stack.enter_context(host(tmp_path, "first", log))
        until("all of them", lambda: first.owned() == {0, 1, 2, 3})
        until("learned", lambda: all(learned([first], n) == c for n, c in counts(log).items()))
        with host(tmp_path, "second", log) as second:
            until("half of them each", lambda: len(first.owned()) == len(second.owned()) == 2)
            assert first.owned() | second.owned() == {0, 1, 2, 3}
            appended(log, 400, 400)
            moved = second.owned()
            until(
                "learned where they are",
                lambda: all(
                    learned([second if n in moved else first], n) == c and c > 0 for n, c in counts(log).items()
                ),
            )
        log.groups[GROUP].expel(second.member)  # its session ends
        until("all of them again", lambda: first.owned() == {0, 1, 2, 3})
        appended(log, 200, 800)
        log.add(1)
        appended(log, 200, 1000)
        until("the new one too", lambda: first.owned() == {0, 1, 2, 3, 4})
        until("learned", lambda: all(learned([first], n) == c for n, c in counts(log).items()))
    assert sum(counts(log).values()) == 1200


def test_a_shard_that_moved_has_the_state_of_one_that_never_did(tmp_path: Path) -> None:
    log = PartitionedLog(2)
    hashes = []
    with host(tmp_path, "first", log) as first:
        appended(log, 300)
        until("learned", lambda: all(learned([first], n) == c for n, c in counts(log).items()))
        with host(tmp_path, "second", log) as second:
            until("one each", lambda: len(first.owned()) == len(second.owned()) == 1)
            (moved,) = second.owned()
            before, after = first.newest(moved), None
            until("its state is there", lambda: second.newest(moved) is not None)
            after = second.newest(moved)
    assert before is not None
    assert after is not None
    learner = new_learner(first.config.model[0])
    for name, folder in (("first", before), ("second", after)):
        kept = FolderSnapshots(tmp_path / name / f"clicks~{moved}")
        learner.restore(kept.load(folder.version).parts["learner"])
        hashes.append((folder.version, learner.state().sha256()))
    assert hashes[0] == hashes[1]


def test_who_wakes_up_after_its_partitions_went_to_another_writes_nothing_that_is_taken(tmp_path: Path) -> None:
    log = PartitionedLog(2)
    appended(log, 100)
    with host(tmp_path, "first", log) as first:
        until("both", lambda: first.owned() == {0, 1})
        until("learned", lambda: all(learned([first], n) == c for n, c in counts(log).items()))
        zombie = log.groups[GROUP].members[first.member]
        log.groups[GROUP].expel(first.member)
        with host(tmp_path, "second", log) as second:
            until("both are another's", lambda: second.owned() == {0, 1})
            until("restored", lambda: all(learned([second], n) >= c for n, c in counts(log).items()))
            assert first.owned() == {0, 1}  # it has not heard of it
            appended(log, 200, 100)
            until("learned there", lambda: all(learned([second], n) == c for n, c in counts(log).items()))
            until("the store tells it", lambda: all(waits(first, n) for n in (0, 1)))
            zombie.hears.set()
            until("it has let go of them", lambda: first.owned() == set())
            appended(log, 100, 300)
            until("the owner goes on", lambda: all(learned([second], n) == c for n, c in counts(log).items()))
            assert second.health("clicks~0") is not None
    with host(tmp_path, "third", log) as third:
        log.groups[GROUP].expel(second.member)
        until("both", lambda: third.owned() == {0, 1})
        until("with all that was learned", lambda: all(learned([third], n) == c for n, c in counts(log).items()))


def test_shards_are_kept_from_a_host_of_another_cluster(tmp_path: Path) -> None:
    log, other = PartitionedLog(2, "one"), PartitionedLog(2, "two")
    appended(log, 100)
    appended(other, 200)
    with host(tmp_path, "first", log) as first:
        until("learned", lambda: all(learned([first], n) == c for n, c in counts(log).items()))
        owners = [one.name for one in Objects(f"file:{tmp_path}/objects").names("")]
        with host(tmp_path, "second", other) as second:
            for name in ("clicks~0", "clicks~1"):
                until("it to be refused", lambda: "log.url is cluster two" in told(second, name))  # noqa: B023
                assert "is learned from Kafka cluster one" in told(second, name)
        assert [second.newest(number) for number in range(2)] == [None, None]
        kept = [one.name for one in Objects(f"file:{tmp_path}/objects").names("")]
        assert [one for one in kept if "/owners/" in one] == [one for one in owners if "/owners/" in one]
        appended(log, 100, 100)
        until("the first to go on", lambda: all(learned([first], n) == c for n, c in counts(log).items()))


def test_positions_are_committed_by_the_member(tmp_path: Path) -> None:
    log = PartitionedLog(2)
    appended(log, 100)
    with host(tmp_path, "first", log):
        ends = {Partition(TOPIC, number): count - 1 for number, count in counts(log).items()}
        until("committed", lambda: GROUP in log.groups and log.groups[GROUP].committed == ends)


def test_a_stranger_keeps_no_shard_that_the_group_has_not_given_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "TOLD_SECONDS", 0.1)
    log = PartitionedLog(1)
    appended(log, 100)
    with host(tmp_path, "first", log) as first:
        until("learned", lambda: learned([first], 0) == 100)
        stranger = RemoteSnapshots(Objects(f"file:{tmp_path}/objects"), "clicks~0")
        stranger.claim("a stranger")
        appended(log, 100, 100)
        until("it goes on", lambda: learned([first], 0) == 200)
        until("as the owner", lambda: stranger.heads()[-1:] == [(3, version_of(first.newest(0)))])


@pytest.mark.parametrize("scaled_first", [True, False])
def test_a_state_of_the_other_form_is_not_passed_over(tmp_path: Path, scaled_first: bool) -> None:
    log = InMemoryLog()
    log.append(TOPIC, messages(events(60), 1))
    forms = ['[model.scale]\nanswers = "key"\n', ""]
    for scale, works in zip(forms if scaled_first else forms[::-1], (True, False)):
        config = configuration(tmp_path, "only", scale)
        registry, live = HealthRegistry(), tmp_path / "only" / "live"
        live.mkdir(parents=True, exist_ok=True)
        made = Learning(config, log, InMemoryCommandQueue(), live, registry)
        made.start()
        name = "clicks~0" if scale else "clicks"
        if works:
            until("learned", lambda name=name: (tmp_path / "only" / name / "journal").exists())
        else:
            until("refused", lambda made=made: made.refused is not None)
            assert "[model.scale]" in str(made.refused)
        made.close()


def test_what_servers_have_counted_of_the_shards_of_other_hosts_is_no_state_of_them(tmp_path: Path) -> None:
    config = configuration(tmp_path, "only", "")
    folder = tmp_path / "only" / "clicks~0"
    folder.mkdir(parents=True)
    (folder / "freshness-1.hours").touch()

    assert passed_over(config, config.model[0]) == ""

    (folder / "journal").mkdir()
    assert "holds states of its shards (clicks~0)" in passed_over(config, config.model[0])


def test_a_shard_whose_state_was_made_under_other_settings_is_logged_with_what_differs(tmp_path: Path) -> None:
    log = InMemoryLog()
    log.append(TOPIC, messages(events(60), 1))
    for gamma in (1.0, 0.5):
        config = configuration(tmp_path, "only", more=f"params.gamma = {gamma}\n")
        registry, live = HealthRegistry(), tmp_path / "only" / "live"
        live.mkdir(parents=True, exist_ok=True)
        made = Learning(config, log, InMemoryCommandQueue(), live, registry)
        with capture_logs() as logged:
            made.start()
            try:
                if gamma == 1.0:
                    until("saved", lambda: (one := Host(config, made, registry).newest(0)) and one.events_learned == 60)  # noqa: B023
                else:
                    until("blocked", lambda: [one for one in logged if one["log_level"] == "error"])
            finally:
                made.close()

    (blocked,) = [one for one in logged if one["log_level"] == "error"]
    assert (blocked["component"], blocked["model"]) == ("learner", "clicks~0")
    assert blocked["event"].startswith("blocked, the other shards go on: ")
    assert "(params.gamma: was 1.0, is 0.5)" in blocked["event"]
    assert "a new name or another service.state_url with another state_dir" in blocked["event"]


def test_the_group_and_the_member_are_named_by_model_and_place(tmp_path: Path) -> None:
    one, other = configuration(tmp_path, "one"), configuration(tmp_path, "other")
    assert group_of(one.model[0]) == "thalweg.clicks"
    assert instance_of(one) != instance_of(other)
    assert instance_of(one) == instance_of(configuration(tmp_path, "one"))
