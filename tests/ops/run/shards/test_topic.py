"""What a learner process tells of the topic of a model of shards: that it is not there, and whose shards are silent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.ops.run.shards.test_shards import TOPIC, appended, configuration, keyed
from tests.services.processes import until
from tests.stream.log.partitions import PartitionedLog
from thalweg.memory.exchange.commands import InMemoryCommandQueue
from thalweg.ops.cli.produce import messages
from thalweg.ops.run.learning import Learning
from thalweg.ops.run.shards.topic import TopicPartitions
from thalweg.proto.records import Partition
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
    log = PartitionedLog(4)
    appended(log, 200)
    with ExitStack() as stack:
        hosts = [stack.enter_context(learning(tmp_path, name, log)) for name in ("one", "two")]

        def silent(registry: HealthRegistry) -> set[int]:
            one = health(registry, "merger")
            if one.state is not Condition.DEGRADED:
                return set()
            named, _, rest = one.reason.removeprefix("shards ").partition(" have ")
            return {int(number) for number in named.split(", ")} if rest == "published nothing here" else set()

        until("each names others", lambda: all(silent(registry) for registry in hosts))


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
