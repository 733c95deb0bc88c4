"""Two services on one Redis, with no setting for that: the second is refused, at its start and at the command line."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import pytest
import redis

from thalweg.ops.cli import operator
from thalweg.ops.config.config import Config, load
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.run.app import open_configured_log
from thalweg.ops.run.processes import run_learners, run_server
from thalweg.ops.run.relay.store_names import names_in_store

pytestmark = pytest.mark.redis


@pytest.fixture
def url(redis_url: str) -> str:
    redis.Redis.from_url(redis_url).flushdb()
    return redis_url


def configured(folder: Path, url: str, more: str = "", log: str = "") -> Config:
    """A checkout of its own, with the names that all of them have."""
    folder.mkdir(exist_ok=True)
    (folder / "thalweg.toml").write_text(
        f"""
[service]
grpc = "127.0.0.1:0"
http = "127.0.0.1:0"
state_dir = "{folder / "state"}"
[log]
url = "{log or f"sqlite:{folder / 'log.db'}"}"
{"" if "moved" not in more else more}
[store]
url = "{url}"
{more if "moved" not in more else ""}
[[model]]
name = "digits"
learner = "ridge"
topic = "digits.events"
labels_topic = "digits.labels"
inputs.x = {{ shape = [2] }}
"""
    )
    return load(folder / "thalweg.toml", {})


def begin(config: Config) -> None:
    """What every process of a service does first with its store."""
    with closing(open_configured_log(config)) as log, names_in_store(config, log):
        pass


def test_a_second_service_with_the_same_names_is_refused_by_every_process(url: str, tmp_path: Path) -> None:
    begin(configured(tmp_path / "a", url))
    begin(configured(tmp_path / "a", url))  # its next process
    second = configured(tmp_path / "b", url)

    told = rf"store\.url.*'digits'.*{tmp_path}/a/log\.db.*store\.prefix"
    with pytest.raises(ConfigurationError, match=told):
        run_learners(second, threading.Event())
    with pytest.raises(ConfigurationError, match=told):
        run_server(second, threading.Event())
    with pytest.raises(ConfigurationError, match=told):
        operator.ask(second, "digits", "rollback", version=0)
    assert redis.Redis.from_url(url).llen("thalweg:commands:digits") == 0


def test_a_prefix_sets_it_apart(url: str, tmp_path: Path) -> None:
    begin(configured(tmp_path / "a", url))

    begin(configured(tmp_path / "b", url, 'prefix = "staging"'))

    assert redis.Redis.from_url(url).exists("staging:note:digits:service", "thalweg:note:digits:service") == 2


def test_another_database_does(url: str, tmp_path: Path) -> None:
    begin(configured(tmp_path / "a", url))

    begin(configured(tmp_path / "b", url.replace("/0", "/1")))

    redis.Redis.from_url(url.replace("/0", "/1")).flushdb()


def test_a_log_that_was_lost_is_begun_anew_by_the_same_service(url: str, tmp_path: Path) -> None:
    config = configured(tmp_path / "a", url)
    begin(config)
    for file in (tmp_path / "a").glob("log.db*"):
        file.unlink()

    begin(config)


def test_a_log_that_was_moved_is_named(url: str, tmp_path: Path) -> None:
    first = configured(tmp_path / "a", url)
    begin(first)
    with closing(open_configured_log(first)) as log:
        identity = log.identity("digits.events")

    begin(configured(tmp_path / "b", url, f'moved_from = "{identity}"'))


@pytest.mark.kafka
def test_hosts_of_one_kafka_cluster_are_one_service(url: str, tmp_path: Path, kafka_servers: str) -> None:
    begin(configured(tmp_path / "a", url, log=f"kafka://{kafka_servers}"))
    begin(configured(tmp_path / "b", url, log=f"kafka://{kafka_servers}"))

    with pytest.raises(ConfigurationError, match="another service's"):
        begin(configured(tmp_path / "c", url))


def test_neither_a_redis_nor_a_log_that_is_away_is_waited_for(tmp_path: Path) -> None:
    begin(configured(tmp_path / "a", "redis://127.0.0.1:1/0"))


def test_prefixes_have_a_form(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"store\.prefix"):
        configured(tmp_path / "a", "redis://h", 'prefix = "a b"')
    with pytest.raises(ConfigurationError, match=r"store\.url.*expected sqlite:PATH, redis://"):
        configured(tmp_path / "a", "redis+clustre://h")
