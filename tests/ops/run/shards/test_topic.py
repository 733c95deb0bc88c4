"""What a learner process tells of the topic of a model of shards: that it is not there, and whose shards are silent."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.ops.run.shards.test_shards import TOPIC, appended, configuration, keyed
from tests.services.processes import PATIENCE, until
from tests.stream.log.partitions import PartitionedLog
from thalweg.memory.exchange.commands import InMemoryCommandQueue
from thalweg.ops.cli.produce import messages
from thalweg.ops.run.learning import Learning
from thalweg.ops.run.shards.topic import TopicPartitions
from thalweg.proto.records import Partition
from thalweg.stream.health.probe import Probe
from thalweg.stream.health.registry import ComponentHealth, Condition, HealthRegistry
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Log, LogError
from thalweg.stream.log.sqlite import SqliteLog

MERGED = "[model.scale]\nmerge_seconds = 0.05\n"


@contextmanager
def learning(folder: Path, name: str, log: Log, scale: str = MERGED) -> Iterator[HealthRegistry]:
    config = configuration(folder, name, scale)
    registry, live = HealthRegistry(), Path(config.service.state_dir) / "live"
    live.mkdir(parents=True)
    parts = Learning(config, log, InMemoryCommandQueue(), live, registry)
    parts.start()
    try:
        yield registry
    finally:
        parts.close()


def health(registry: HealthRegistry, component: str) -> ComponentHealth:
    return next(one for one in registry.report() if (one.component, one.model) == (component, "clicks"))


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("scale", [MERGED, '[model.scale]\nanswers = "key"\n'])
def test_a_model_of_shards_waits_for_its_topic_until_there_is_one(tmp_path: Path, kind: str, scale: str) -> None:
    log: Log = InMemoryLog() if kind == "memory" else SqliteLog(f"{tmp_path}/log.db")
    with learning(tmp_path, "one", log, scale) as registry:
        until("it waits", lambda: health(registry, "learner").state is Condition.WAITING)
        assert health(registry, "learner").reason == f"topic {TOPIC!r} does not exist (or has no partitions) yet"

        log.append(TOPIC, messages(keyed(50), 1))

        until("it learns", lambda: health(registry, "learner").state is Condition.RUNNING)


def test_a_host_names_the_shards_that_others_learn_and_it_cannot_answer_from(tmp_path: Path) -> None:
    # on a busy machine the first may publish all shards before the second is there
    assert any(_each_names_others(tmp_path / str(attempt)) for attempt in range(12))


def _each_names_others(folder: Path) -> bool:
    folder.mkdir()
    log = PartitionedLog(4)
    appended(log, 200)
    with ExitStack() as stack:
        hosts = [stack.enter_context(learning(folder, name, log)) for name in ("one", "two")]

        def silent(registry: HealthRegistry) -> set[int]:
            one = health(registry, "merger")
            if one.state is not Condition.DEGRADED:
                return set()
            named, _, rest = one.reason.removeprefix("shards ").partition(" have ")
            return {int(number) for number in named.split(", ")} if rest == "published nothing here" else set()

        with suppress(AssertionError):
            return until("each names others", lambda: all(silent(registry) for registry in hosts), PATIENCE / 12)
    return False


def test_what_is_known_of_a_topic_is_never_waited_for_and_stays_while_the_log_is_away() -> None:
    asked, go_on = threading.Event(), threading.Event()
    answers: list[list[Partition] | None] = [[], [Partition("t", 1), Partition("t", 0)], None]

    def bounds(topic: str) -> list[Partition]:
        asked.set()
        assert go_on.wait(60.0)
        found = answers.pop(0)
        if found is None:
            raise LogError("away")
        return found

    topic = TopicPartitions("m", "t", bounds)
    topic.start()
    assert asked.wait(60.0)
    assert (topic.numbers(), topic.missing) == ((), False)  # nothing is known yet, and nobody waits
    go_on.set()
    until("it is known", lambda: topic.missing)
    topic.close()
    topic.look()
    assert (topic.numbers(), topic.missing) == ((0, 1), False)
    with pytest.raises(LogError):
        topic.look()
    assert (topic.numbers(), topic.missing) == ((0, 1), False)


class AwayLog(PartitionedLog):
    """A log that can be away. Its group then says nothing, as those of real clients: a member whose session has ended
    owns nothing, and is told of no partitions.
    """

    away = False

    def bounds(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        if self.away:
            raise LogError("the log is out of reach")
        return super().bounds(topic)


@pytest.mark.parametrize(
    ("scale", "component", "group"),
    [
        (MERGED, "learner", "thalweg.clicks"),
        ('[model.scale]\nanswers = "key"\n', "learner", "thalweg.clicks"),
        ('[model.scale]\nby = "topic"\n', "owner", "thalweg.clicks.owner"),
    ],
)
def test_who_has_lost_its_partitions_in_an_outage_waits_until_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: str, component: str, group: str
) -> None:
    monkeypatch.setattr(Probe.__init__, "__defaults__", (0.05,))
    log = AwayLog(2)
    appended(log, 50)
    with learning(tmp_path, "one", log, scale) as registry:
        until("it runs", lambda: health(registry, component).state is Condition.RUNNING)
        log.away = True
        member = log.groups[group].members.popitem()[1]
        member.out = True
        member.hears.set()
        until("it owns nothing", lambda: not member.owned)

        until("it waits", lambda: health(registry, component).state is Condition.WAITING)

        assert health(registry, component).reason == "the log is out of reach"
        until("its shards to have ended", lambda: not any("~" in one.model for one in registry.report()))
        since = health(registry, component).since
        log.away = False
        until("it runs again", lambda: health(registry, component).state is Condition.RUNNING)
        assert health(registry, component).since > since
