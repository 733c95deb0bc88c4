"""Two services with a model of one name do not share its group: the later one stays out of it, and says why."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from tests.ops.run.shards.test_shards import GROUP, TOPIC, Host, appended, configuration, counts, host, learned, told
from tests.ops.run.shards.test_standby import standby
from tests.ops.running import Service
from tests.services.processes import stop, until
from tests.stream.log.partitions import PartitionedLog
from thalweg.memory.exchange.commands import InMemoryCommandQueue
from thalweg.ops.config.config import Config, load
from thalweg.ops.run.learning import Learning
from thalweg.ops.run.shards import group
from thalweg.ops.run.shards.group import OtherServices, instance_of, member_name, service_of
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.log.kafka_shared.choice import Client
from thalweg.stream.log.log import Log, LogError, PermanentLogError

STRANGER = "elsewhere-0123abcd.89abcdef"


def at(folder: Path, name: str, url: str, topic: str = TOPIC) -> Config:
    """A host whose states are at a URL; empty: with it alone."""
    configuration(folder, name)
    path = folder / f"{name}.toml"
    text = path.read_text().replace(f'state_url = "file:{folder}/objects"\n', f'state_url = "{url}"\n' if url else "")
    path.write_text(text.replace(f'topic = "{TOPIC}"', f'topic = "{topic}"'))
    return load(path, {})


@contextmanager
def host_at(folder: Path, name: str, log: Log, url: str) -> Iterator[Host]:
    config = at(folder, name, url)
    registry, live = HealthRegistry(), Path(config.service.state_dir) / "live"
    live.mkdir(parents=True, exist_ok=True)
    learning = Learning(config, log, InMemoryCommandQueue(), live, registry)
    learning.start()
    try:
        yield Host(config, learning, registry)
    finally:
        learning.close()


def state_of(one: Host) -> str:
    health = one.health("clicks")
    return "" if health is None else health.state


@pytest.mark.parametrize("theirs", ["file:{folder}/others", ""])
def test_a_service_with_other_states_stays_out_of_the_group_until_the_first_has_left(
    tmp_path: Path, theirs: str
) -> None:
    log = PartitionedLog(2)
    appended(log, 200)
    with host_at(tmp_path, "second", log, theirs.format(folder=tmp_path)) as second:
        until("all of them", lambda: second.owned() == {0, 1})
        with host(tmp_path, "first", log) as first:
            until("it to say why", lambda: "has members of another service" in told(first, "clicks"))
            assert state_of(first) == "failed"
            for text in (f"group '{GROUP}'", instance_of(second.config), TOPIC, f"got file:{tmp_path}/objects here"):
                assert text in told(first, "clicks")
            appended(log, 200, 200)
            until("the second to learn on", lambda: all(learned([second], n) == c for n, c in counts(log).items()))
            assert (first.owned(), second.owned()) == (set(), {0, 1})

            log.groups[GROUP].expel(second.member)  # it ended, and its session, too

            until("the first to take part", lambda: first.owned() == {0, 1})
            until("it to learn all of it", lambda: all(learned([first], n) == c for n, c in counts(log).items()))
            assert state_of(first) == "running"


def test_services_that_start_at_once_are_told_of_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "_EVERY_SECONDS", 0.1)
    log = PartitionedLog(2)
    with host(tmp_path, "first", log) as first:
        until("all of them", lambda: first.owned() == {0, 1})
        other = log.member(TOPIC, GROUP, STRANGER, first.learning)  # type: ignore[arg-type]  # it is never polled

        until("it to be told", lambda: state_of(first) == "degraded")

        assert "(elsewhere-0123abcd)" in told(first, "clicks")
        log.groups[GROUP].expel(STRANGER)
        until("it to be well again", lambda: state_of(first) == "running")
        assert other is not None


def test_a_standby_counts_no_learners_of_another_service_and_does_not_join_them(tmp_path: Path) -> None:
    log = PartitionedLog(2)
    with host_at(tmp_path, "second", log, f"file:{tmp_path}/others") as second:
        until("all of them", lambda: second.owned() == {0, 1})
        with standby(tmp_path, "third", log) as third:
            until("it to be told", lambda: "has members of another service" in told(third, "clicks"))

            assert [*log.groups[GROUP].members] == [second.member]

    others = OtherServices(third.config, third.config.model[0], lambda name: [STRANGER])
    with pytest.raises(PermanentLogError, match="another service"):
        others.learners()
    ours = OtherServices(third.config, third.config.model[0], lambda name: ["of-old-0123abcd", second.member[:-9]])
    assert ours.learners() == 2  # of a version before, whose names say nothing


def test_a_member_that_is_no_learner_is_told_and_nobody_waits_for_it(tmp_path: Path) -> None:
    """Somebody reads the topic under the group's name, and is assigned a part of it."""
    log = PartitionedLog(2)
    others = log.member(TOPIC, GROUP, "client console-consumer", _Quiet())
    others.poll(0.0)
    with host(tmp_path, "first", log) as first:
        until("its share", lambda: (others.poll(0.0), len(first.owned()) == 1)[1])
        until("it to be told", lambda: state_of(first) == "degraded")
        assert "members that are no learners (client console-consumer)" in told(first, "clicks")
    counted = OtherServices(first.config, first.config.model[0], lambda name: ["client x", "my-app", first.member])
    assert counted.learners() == 1


class _Quiet:
    """A listener that does nothing."""

    def assigned(self, numbers: Collection[int]) -> None:
        """Not told on."""

    revoked = lost = assigned


def test_who_is_not_told_the_members_takes_part_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = PartitionedLog(2)

    def refuse(name: str) -> list[str]:
        raise LogError("not authorized")

    monkeypatch.setattr(log, "named_members", refuse)
    with host(tmp_path, "first", log) as first:
        until("all of them", lambda: first.owned() == {0, 1})


def test_states_are_the_same_however_a_store_is_written_and_others_otherwise(tmp_path: Path) -> None:
    def named(name: str, url: str, topic: str = TOPIC) -> str:
        config = at(tmp_path, name, url, topic)
        return service_of(config, config.model[0])

    assert named("one", "s3://bucket/states") == named("other", "s3://bucket/states/")
    assert named("one", "S3://bucket/./states/") == named("other", "s3://bucket/states")
    (tmp_path / "states").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "states")
    for url in (f"file://{tmp_path}/states/", f"FILE:{tmp_path}/one/../states", f"file:{tmp_path}/linked"):
        assert named("one", f"file:{tmp_path}/states") == named("other", url)
    assert (
        len({named("one", url) for url in ("s3://bucket/states", "s3://bucket/other", "gs://bucket/states", "")}) == 4
    )
    assert named("one", "") != named("other", "")
    assert named("one", "s3://bucket/states") != named("one", "s3://bucket/states", "another.topic")


def test_a_host_of_any_name_has_one_that_groups_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configuration(tmp_path, "one")
    monkeypatch.setattr("socket.gethostname", lambda: "my höst" + "x" * 300)

    name = member_name(config, config.model[0], 2)

    assert name.startswith("my_h_stx")
    assert name.isascii()
    assert len(name) <= 249


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_two_services_on_one_kafka_with_a_model_of_one_name(tmp_path: Path, kafka_servers: str, client: Client) -> None:
    topic = f"t-{uuid.uuid4().hex[:10]}"
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
    admin.create_topics({topic: {"num_partitions": 2}})
    admin.close()
    first, second = (made(tmp_path, name, kafka_servers, client, topic) for name in ("first", "second"))
    try:
        first.start()
        first.send(100)
        until("all to be learned", lambda: first.learned() == 100)
        second.start()
        until("the second to be refused", lambda: "has members of another service" in reason(second))
        assert f"service.state_url for both; got file:{tmp_path}/second-states here" in reason(second)

        first.send(100)

        until("the first to learn on", lambda: first.learned() == 200)
        assert not list((tmp_path / "second" / "state").glob(f"{topic}~*/journal"))
        assert reason(first) == ""
        assert stop(first.processes[-1]) == 0
        until("the second to learn all of it", lambda: second.learned() == 200)
    finally:
        first.close()
        second.close()


def made(folder: Path, name: str, servers: str, client: Client, topic: str) -> Service:
    (folder / name).mkdir()
    one = Service(folder / name, f"kafka://{servers}", topic, more="\n[model.scale]\n")
    text = one.path.read_text().replace('name = "m"', f'name = "{topic}"')
    text = text.replace("[service]", f'[service]\nstate_url = "file:{folder}/{name}-states"\nstandby = false')
    text = text.replace("[store]", f'client = "{client}"\n[log.kafka]\n"session.timeout.ms" = 6000\n\n[store]')
    one.path.write_text(text)
    one.model = topic
    return one


def reason(one: Service) -> str:
    """What the group of its model is told of."""
    _, text = one.get("/readyz")
    try:
        components = json.loads(text)["components"]
    except ValueError:
        return ""
    return next((it["reason"] for it in components if it["component"] == "learner" and it["model"] == one.model), "")
