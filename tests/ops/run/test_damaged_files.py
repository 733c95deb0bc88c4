"""A server whose log or store is damaged when it starts serves all the same, says what to do, and recovers."""

from __future__ import annotations

import json
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest

from tests.ops.running import TOML
from tests.samples import FEATURES, sample
from tests.services.ports import free_port
from tests.services.processes import PATIENCE, until
from thalweg.memory.exchange.commands import CommandQueue, SqliteCommandQueue, StoreDamaged, StoreError
from thalweg.memory.exchange.pending import USUAL
from thalweg.memory.exchange.reopened import check_store, reopened_commands, reopened_pending
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.models.contract.registry import find
from thalweg.ops.cli.produce import messages
from thalweg.ops.config.config import Config, load
from thalweg.ops.run.app import open_configured_log
from thalweg.ops.run.learning import Learning
from thalweg.ops.run.serving import build_server
from thalweg.ops.serve.server import Server
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.log.log import Log, LogError, LogReplaced, Message
from thalweg.stream.log.reopened import reopened_log
from thalweg.stream.log.sqlite import SqliteLog
from thalweg.stream.publication.file_channel import FileSubscriber
from thalweg.stream.publication.live_folder import live_folder

_LARGE = b"x" * 3000


def _not_a_database(path: Path) -> None:
    path.write_bytes(b"no database at all " * 500)


def _cut(path: Path) -> None:
    """Make it a log and a store, then cut off all but the first page."""
    with closing(SqliteLog(path)) as log:
        log.append("m.events", [Message(_LARGE)] * 5)
    SqliteCommandQueue(path).close()
    with path.open("r+b") as file:
        file.truncate(4096)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    names = {"log": f"sqlite:{tmp_path}/log.db", "store": f"sqlite:{tmp_path}/store.db", "topic": "m.events"}
    head = TOML.format(prefix="thalweg", folder=tmp_path, grpc=free_port(), http=free_port(), **names)
    (tmp_path / "thalweg.toml").write_text(head + 'labels_topic = "m.labels"\n' + sample("ridge").configuration)
    return load(tmp_path / "thalweg.toml", {})


@pytest.fixture
def learned(config: Config, tmp_path: Path) -> Config:
    """A service that has learned and saved 40 events, and is down."""
    with (
        closing(open_configured_log(config)) as log,
        closing(reopened_commands(config.store.url)) as store,
        closing(_learning(config, log, store, HealthRegistry())),
    ):
        log.append("m.events", messages(sample("ridge").events(40, 0), 1))
        until("a block to be learned", lambda: _published(config) == 40)
    assert _saved(tmp_path) == 40
    return config


def _published(config: Config) -> int:
    watching = FileSubscriber(live_folder(Path(config.service.state_dir)) / "m", find("ridge").predictor_from)
    watching.look()
    return 0 if watching.current is None else watching.current.info.learned_events


def _saved(folder: Path) -> int:
    return max((one.events_learned for one in FolderSnapshots(folder / "state" / "m").manifests()), default=0)


def _learning(config: Config, log: Log, store: CommandQueue, registry: HealthRegistry) -> Learning:
    learning = Learning(config, log, store, live_folder(Path(config.service.state_dir)), registry)
    learning.start()
    return learning


def _get(server: Server, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}{path}", timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def _state(components: Iterable[dict[str, str]], component: str) -> tuple[str, str]:
    found = next(one for one in components if one["component"] == component)
    return found["state"], found["reason"]


@pytest.mark.parametrize("damage", [_not_a_database, _cut])
def test_damaged_files_at_the_start_are_named_while_the_saved_version_is_served_and_learning_goes_on_without_them(
    learned: Config, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    for name in ("log.db", "store.db"):
        for part in tmp_path.glob(f"{name}*"):
            part.unlink()
        damage(tmp_path / name)
    registry = HealthRegistry()
    with ExitStack() as stack:
        source = stack.enter_context(closing(reopened_log(learned.log.url, lambda: open_configured_log(learned))))
        store = stack.enter_context(closing(reopened_commands(learned.store.url)))
        server = build_server(learned, source, store)
        server.start()
        stack.callback(server.drain, 0.0)
        stack.enter_context(closing(_learning(learned, source, store, registry)))

        def here(component: str) -> tuple[str, str]:
            return _state(json.loads(_get(server, "/readyz")[1])["components"], component)

        def there(component: str) -> tuple[str, str]:
            return _state([one.record() for one in registry.report()], component)

        for where, component, name in (
            (here, "log", "log.db"),
            (here, "store", "store.db"),
            (there, "learner", "log.db"),
        ):
            until(f"{component} to fail", lambda where=where, one=component: where(one)[0] == "failed")
            reason = where(component)[1]
            assert f"move {tmp_path / name}, " in reason
            assert " are lost with it" in reason
        until("the saved version to be served", lambda: _get(server, "/readyz")[0] == 200)
        assert _get(server, "/healthz")[0] == 200  # a restart would not help
        assert "thalweg_log_up 0.0" in _get(server, "/metrics")[1]

        for name in ("log.db", "store.db"):
            (tmp_path / name).rename(tmp_path / f"{name}.damaged")
        until("the log and the store", lambda: {here(one)[0] for one in ("log", "store")} == {"running"})
        source.append("m.events", messages(sample("ridge").events(40, 40), 1))
        until("learning to go on", lambda: there("learner")[0] == "running")
        until("the new events to be learned", lambda: _published(learned) == 80)
        assert "thalweg_log_up 1.0" in _get(server, "/metrics")[1]
    assert _saved(tmp_path) == 80


@pytest.mark.parametrize("damage", [_not_a_database, _cut])
def test_requests_that_cannot_become_events_in_a_damaged_log_are_told_and_no_restart_is_due(
    learned: Config, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    text = (tmp_path / "thalweg.toml").read_text()
    (tmp_path / "thalweg.toml").write_text(text.replace('labels_topic = "m.labels"', "learn_from_requests = true"))
    config = load(tmp_path / "thalweg.toml", {})
    for part in tmp_path.glob("log.db*"):
        part.unlink()
    damage(tmp_path / "log.db")
    with ExitStack() as stack:
        source = stack.enter_context(closing(reopened_log(config.log.url, lambda: open_configured_log(config))))
        store = stack.enter_context(closing(reopened_commands(config.store.url)))
        server = build_server(config, source, store)
        server.start()
        stack.callback(server.drain, 0.0)

        def here() -> tuple[str, str]:
            return _state(json.loads(_get(server, "/readyz")[1])["components"], "request_log")

        until("the saved version to be served", lambda: _get(server, "/readyz")[0] == 200)
        assert server.models.sinks.log is not None
        server.models.sinks.log.record("m", {"features": np.zeros((1, FEATURES), np.float32)})
        until("it to be told", lambda: here()[0] == "failed")
        assert f"move {tmp_path / 'log.db'}, " in here()[1]
        assert _get(server, "/healthz")[0] == 200  # a restart would not help

        for part in tmp_path.glob("log.db*"):
            part.rename(f"{part}.damaged")
        until("it to go on", lambda: here()[0] == "running")
        assert server.models.sinks.log.recorded["m"] == 1


@pytest.mark.parametrize(
    ("cut", "problem"), [(0, "no such table"), (4096, "malformed; put a good copy in its place, or move ")]
)
def test_a_log_cut_off_or_replaced_while_it_is_open_does_not_look_well(tmp_path: Path, cut: int, problem: str) -> None:
    path = tmp_path / "log.db"
    with closing(SqliteLog(path)) as log:
        log.append("m.events", [Message(_LARGE)] * 5)
        log._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert [*log.bounds("m.events").values()] == [(0, 5)]
        with path.open("r+b") as file:
            file.truncate(cut)
        with pytest.raises(LogError, match=problem):
            log.bounds("m.events")
        path.unlink()
        with pytest.raises(LogReplaced, match="deleted"):
            log.bounds("m.events")


def test_a_store_cut_off_while_it_is_open_is_found_out_and_a_new_one_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    url = f"sqlite:{path}"
    store, pending = reopened_commands(url), reopened_pending(url, USUAL)
    pending.remember("m", [("a", 1.0, _LARGE)])
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    check_store(url, store)
    with path.open("r+b") as file:
        file.truncate(4096)
    with pytest.raises(StoreDamaged, match=r"store\.db: .*move .*store\.db, "):
        check_store(url, store)

    for name in ("store.db", "store.db-wal", "store.db-shm"):
        (tmp_path / name).unlink()
    check_store(url, store)
    assert pending.find("m", ["a"]) == [None]
    store.close()
    pending.close()
    with pytest.raises(StoreError):
        store.submit("m", "snapshot", {})
