"""A host that only serves: versions, health, page and aliases of learners elsewhere, by the store alone."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.ops.run.test_learning import configuration
from tests.samples import events, sample
from tests.services.processes import until
from tests.stream.publication.test_file_channel import filled
from thalweg.memory.exchange.commands import InMemoryCommandQueue
from thalweg.memory.relay.announced import Order
from thalweg.memory.relay.board import InMemoryBoard, VersionBoard
from thalweg.memory.snapshots.state import State
from thalweg.ops.cli.produce import messages
from thalweg.ops.cli.promote import promote
from thalweg.ops.config.config import Config, load
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.run.failed import Failed
from thalweg.ops.run.learning import Learning
from thalweg.ops.run.relay.board import build_sender, open_board
from thalweg.ops.run.relay.following import Follower, JoinedRegistry, run_follower
from thalweg.ops.run.relay.monitor import Monitor
from thalweg.ops.run.relay.notes import LocalNotes, RemoteNotes, keep_aliases, read_note
from thalweg.ops.run.serving import location_of
from thalweg.ops.run.successors import aliases_folder, promotions_path, with_successors
from thalweg.ops.run.supervisor import Supervisor
from thalweg.ops.serve.champions.promoting import promote as promote_over_http
from thalweg.ops.serve.errors import FailedPrecondition
from thalweg.ops.serve.models import Models
from thalweg.ops.serve.readiness import ServiceHealth
from thalweg.ops.telemetry.learners.processes import LearnerProcesses
from thalweg.ops.telemetry.process_health import HealthFile
from thalweg.ops.telemetry.status import Statuses
from thalweg.stream.health.registry import ComponentHealth, Condition, Health, HealthRegistry
from thalweg.stream.journal.promotions import Promotions, before
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.publication.file_channel import FilePublisher, FileSubscriber
from thalweg.stream.publication.live_folder import live_folder

RIDGE = 'learner = "ridge"\nsnapshot_seconds = 0.01\nbatch_events = 10\n'
TWO = {"a": RIDGE, "b": RIDGE}
ALIAS = '[[alias]]\nname = "x"\nchampion = "a"\nchallengers = ["b"]\n'


def host(folder: Path, role: str, alias: str = "", name: str = "", **models: str) -> Config:
    """A host that only learns or only serves, with a state folder of its own."""
    here = folder / (name or role)
    here.mkdir(exist_ok=True)
    service = f'role = "{role}"\nstate_url = "file:{folder / "objects"}"\nhttp = "127.0.0.1:0"\ngrpc = "127.0.0.1:0"\n'
    configuration(here, service + '[log]\nurl = "kafka://127.0.0.1:1"\n', **(models or {"a": RIDGE}))
    path = here / "thalweg.toml"
    path.write_text(path.read_text() + alias)
    return load(path, {})


def live_of(config: Config) -> Path:
    return live_folder(Path(config.service.state_dir))


@contextmanager
def learning(config: Config, log: InMemoryLog) -> Iterator[HealthRegistry]:
    """What the learner process of a host runs."""
    registry, live = HealthRegistry(), live_of(config)
    health, sender = HealthFile(live, registry), build_sender(config, live, registry)
    made = Learning(config, log, InMemoryCommandQueue(), live, registry)
    for part in (health, sender, made):
        part.start()
    try:
        yield registry
    finally:
        for part in (made, sender, health):
            part.close()


@contextmanager
def following(config: Config) -> Iterator[ServiceHealth]:
    """What the follower and a server of a host run."""
    registry, live = JoinedRegistry(), live_of(config)
    health, follower = HealthFile(live, registry), Follower(config, live, open_board(config), registry, lambda topic: 1)
    models = Models([location_of(config, model, live) for model in config.model])
    for part in (health, follower, models):
        part.start()
    try:
        yield ServiceHealth(models, learners=LearnerProcesses(live))
    finally:
        for part in (models, follower, health):
            part.close()


def state(health: ServiceHealth, component: str, model: str = "a") -> str:
    found = [one.state for one in health.components() if (one.component, one.model) == (component, model)]
    return found[0] if found else ""


def test_versions_health_and_status_of_a_learner_elsewhere_are_those_of_this_host(tmp_path: Path) -> None:
    log = InMemoryLog()
    log.append("t", messages(events(200), 1))
    learner, server = host(tmp_path, "learn"), host(tmp_path, "serve")
    statuses = Statuses(live_of(server))

    with following(server) as health:
        assert "no version is published" in health.readiness()["reasons"][0]
        with learning(learner, log):
            until("it to be ready", lambda: health.readiness()["ready"])
            until("the learner to be told", lambda: state(health, "learner") == "running")
            until("the status to be told", lambda: (statuses.of("a") or {}).get("learned_events") == 200)
            assert state(health, "relay") == "running"
            (model,) = health._models.all()
            until("all to be served", lambda: model.versions.current().info.learned_events == 200)
            until("it to be fresh", lambda: model.staleness_seconds(model.versions.current()) < 60.0)

    kept = Path(server.service.state_dir) / "a"
    assert {path.name for path in kept.glob("*")} <= {"freshness-1.hours"}  # nothing else: nothing is learned here


def test_shards_are_received_and_not_what_a_host_has_made_of_its_own(tmp_path: Path) -> None:
    log, scaled = InMemoryLog(), {"a": RIDGE + 'scale.answers = "key"\n'}
    log.append("t", messages(events(50), 1))
    learner, server = host(tmp_path, "learn", **scaled), host(tmp_path, "serve", **scaled)
    own = FilePublisher(live_of(learner) / "a")
    own.publish(filled(1), version=1, learned_events=1, event_time=0.0)  # type: ignore[arg-type]
    registry, live, board = JoinedRegistry(), live_of(server), open_board(server)
    follower = Follower(server, live, board, registry, lambda topic: len(log.bounds(topic)))
    follower.start()
    try:
        with learning(learner, log):
            until("the shard to be published", (live / "a~0" / "relayed").exists)
    finally:
        follower.close()

    assert [path.name for path in live.iterdir() if (path / "announcement").exists()] == ["a~0"]
    assert board.newest("a") is None


def test_shards_that_no_host_sends_are_named_where_they_are_merged(tmp_path: Path) -> None:
    log, scaled = InMemoryLog(), {"a": RIDGE + "scale.merge_seconds = 0.05\n"}
    log.append("t", messages(events(50), 1))
    learner, server = host(tmp_path, "learn", **scaled), host(tmp_path, "serve", **scaled)
    registry = JoinedRegistry()
    follower = Follower(server, live_of(server), open_board(server), registry, lambda topic: 3)
    follower.start()

    def told() -> list[str]:
        return [one.reason for one in registry.report() if (one.component, one.model) == ("merger", "a")]

    try:
        with learning(learner, log):
            why = "nothing of it could be read yet"
            until("the others to be named", lambda: told() == [f"shard 1: {why}; shard 2: {why}"])
    finally:
        follower.close()


def test_shards_are_merged_where_they_are_served(tmp_path: Path) -> None:
    log, scaled = InMemoryLog(), {"a": RIDGE + 'scale.answers = "merge"\n'}
    log.append("t", messages(events(50), 1))
    learner, server = host(tmp_path, "learn", **scaled), host(tmp_path, "serve", **scaled)
    with learning(learner, log), following(server) as health:
        (model,) = health._models.all()
        until("the merged model to be served", lambda: model.versions.newest)
        until("all to be served", lambda: model.versions.current().info.learned_events == 50)

    assert not (live_of(learner) / "a" / "announcement").exists()


def test_a_shard_that_failed_on_one_of_two_hosts_is_told_where_it_is_served(tmp_path: Path) -> None:
    scaled = {"a": RIDGE + 'scale.answers = "key"\n'}
    server, board = host(tmp_path, "serve", **scaled), InMemoryBoard()
    for name, shard, state in (("r2", "a~0", "running"), ("r2", "a~1", "running"), ("r4", "a~0", "failed")):
        live = tmp_path / name
        live.mkdir(exist_ok=True)
        one = {"component": "learner", "model": shard, "state": state, "reason": "why", "since": 0.0, "restarts": 0}
        (live / "health-learner.json").write_text(json.dumps({"components": [one]}))
        LocalNotes(server, live).tell(board, name)
    notes = RemoteNotes(server, board)
    notes.look_at_hosts("a")

    assert ("a~0", Condition.FAILED, "why") in [(one.model, one.state, one.reason) for one in notes.components()]


def test_a_learner_that_failed_before_it_published_is_told_where_it_is_served(tmp_path: Path) -> None:
    log = InMemoryLog()
    scaled = {"a": RIDGE + 'scale.answers = "key"\n'}
    learner, server = host(tmp_path, "learn", **scaled), host(tmp_path, "serve", **scaled)
    log.append("t", messages(events(20), 1))
    with learning(learner, log):
        until("it to be saved", lambda: _saved(learner, "a~0") == 20)
    shutil.rmtree(
        live_of(learner) / "a~0"
    )  # as after a restart of the host: nothing is published, and no note goes with it
    changed = host(tmp_path, "learn", a=RIDGE + 'params.gamma = 2.0\nscale.answers = "key"\n')
    with learning(changed, log), following(server) as health:
        until(
            "it to be told",
            lambda: [one for one in health.readiness()["degraded"] if "params.gamma" in one],
        )


def test_the_owner_s_generation_goes_with_the_version(tmp_path: Path) -> None:
    log = InMemoryLog()
    log.append("t", messages(events(50), 1))
    learner, board = host(tmp_path, "learn"), open_board(host(tmp_path, "learn"))
    for generation in (1, 2):
        with learning(learner, log):
            log.append("t", messages(events(10, 50 * generation), 1))
            until("it to be announced", lambda: (board.newest("a") or (0,))[0] == generation)  # noqa: B023


def test_what_a_superseded_learner_goes_on_to_publish_reaches_no_server(tmp_path: Path) -> None:
    log, board = InMemoryLog(), open_board(host(tmp_path, "learn"))
    log.append("t", messages(events(50), 1))
    late, new = host(tmp_path, "learn", name="late"), host(tmp_path, "learn", name="new")
    with learning(late, log) as registry:
        until("it to be announced", lambda: board.newest("a"))
        with learning(new, log):
            until("the other to be announced", lambda: (board.newest("a") or (0,))[0] == 2)
            log.append("t", messages(events(30, 50), 1))
            until("the late one to be told", lambda: "generation 2" in _reason(registry, "relay"))
            until("the late one to end", lambda: "is owned by" in _reason(registry, "learner"))
            found = board.read("a", None)
            assert found is not None
            assert found.announced.order.generation == 2
            until("all to be announced", lambda: _events(board) == 80)


def _reason(registry: HealthRegistry, component: str) -> str:
    return next((one.reason for one in registry.report() if (one.component, one.model) == (component, "a")), "")


def _events(board: VersionBoard) -> int:
    found = board.read("a", None)
    return 0 if found is None else found.announced.learned_events


def test_a_memory_that_servers_would_map_goes_with_the_version(tmp_path: Path) -> None:
    """There is no file of it that another host could map."""
    log, made = InMemoryLog(), sample("error_memory")
    log.append("t", messages(made.events(60), 1))
    (tmp_path / "learn").mkdir()
    path = tmp_path / "learn" / "thalweg.toml"
    path.write_text(
        f'[service]\nrole = "learn"\nstate_dir = "{tmp_path}/learn/state"\nstate_url = "file:{tmp_path}/objects"\n'
        f'[[model]]\nname = "a"\ntopic = "t"\n{made.configuration}'
    )
    config, seen = load(path, {}), []
    with learning(config, log):
        subscriber = FileSubscriber(
            live_of(config) / "a", lambda state: seen.append(state) or _predictor(config, state)
        )  # type: ignore[func-returns-value]
        until("a version", lambda: subscriber.look() or subscriber.current)

    assert '"path"' not in json.dumps(dict(seen[-1].meta))
    assert not list((live_of(config) / "a").glob("*.slots"))


def _predictor(config: Config, state: State) -> Any:
    return location_of(config, config.model[0], live_of(config)).build(state)


def test_who_was_promoted_where_it_is_learned_answers_here(tmp_path: Path) -> None:
    learner, server = host(tmp_path, "learn", ALIAS, **TWO), host(tmp_path, "serve", ALIAS, **TWO)
    log = InMemoryLog()
    log.append("t", messages(events(50), 1))
    with learning(learner, log):
        until("both to be saved", lambda: _saved(learner, "a") == _saved(learner, "b") == 50)
        promote(learner, "x", "b", back=False, force=True)
        board = open_board(server)

        def received() -> bool:
            keep_aliases(server, board)
            found = Promotions(promotions_path(server, "x")).read()
            return bool(found) and found[-1].champion == "b"

        until("the promotion to arrive", received)


def _saved(config: Config, model: str) -> int:
    from thalweg.memory.snapshots.snapshots import FolderSnapshots

    manifests = FolderSnapshots(Path(config.service.state_dir) / model).manifests()
    return manifests[-1].events_learned if manifests else 0


def test_a_successor_that_is_built_elsewhere_is_followed(tmp_path: Path) -> None:
    log = InMemoryLog()
    log.append("t", messages(events(50), 1))
    with learning(host(tmp_path, "learn"), log):
        until("it to be saved", lambda: _saved(host(tmp_path, "learn"), "a") == 50)
    changed = {"a": RIDGE + "params.gamma = 2.0\n"}
    server = host(tmp_path, "serve", **changed)
    with learning(host(tmp_path, "learn", **changed), log):
        board = open_board(server)
        until("the successor to be announced", lambda: board.newest("a@2"))
        until("it to be told", lambda: keep_aliases(server, board) or list(aliases_folder(server).glob("*")))  # type: ignore[func-returns-value]

        running = with_successors(server, record=False)

        assert [model.name for model in running.model] == ["a", "a@2"]


def test_nothing_is_promoted_where_nothing_is_learned(tmp_path: Path) -> None:
    server = host(tmp_path, "serve", ALIAS, **TWO)
    with pytest.raises(Failed, match="on a host that learns"):
        promote(server, "x", "b", back=False, force=True)
    models = Models([])
    models.learned_elsewhere = True
    alias: Any = server.alias[0]
    with pytest.raises(FailedPrecondition, match="on a host that learns"):
        promote_over_http(models, alias, "b", force=True)


def test_a_learner_s_host_answers_for_its_health_and_metrics_alone(tmp_path: Path) -> None:
    import urllib.error
    import urllib.request

    log = InMemoryLog()
    log.append("t", messages(events(20), 1))
    config = host(tmp_path, "learn")

    def get(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{monitor.port}{path}", timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    monitor = Monitor(config)
    monitor.start()
    try:
        assert get("/readyz")[0] == 503
        with learning(config, log):
            until("it to be ready", lambda: get("/readyz")[0] == 200)
            until("its metrics", lambda: 'thalweg_events_learned_total{model_name="a"} 20' in get("/metrics")[1])
            assert get("/healthz") == (200, "ok\n")
            assert get("/v2/models/a")[0] == 404
        until("its end to be told", lambda: "the learner process has ended" in get("/readyz")[1])
    finally:
        monitor.close()


def test_what_would_write_over_the_learners_of_this_host_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="only 'serve' has a follower"):
        run_follower(host(tmp_path, "learn"), threading.Event())


@pytest.mark.parametrize(
    ("role", "processes"),
    [
        ("all", ["server", "server-2", "learner"]),
        ("serve", ["follower", "server", "server-2"]),
        ("learn", ["monitor", "learner"]),
    ],
)
def test_a_host_has_the_processes_of_its_role(tmp_path: Path, role: str, processes: list[str]) -> None:
    supervisor = Supervisor(tmp_path, 1.0, ["thalweg.toml"], threading.Event(), servers=2, role=role)

    assert [child.role for child in supervisor._children] == processes


class Times:
    """A host's clock, off by so much, and its ticks."""

    def __init__(self, off: float = 0.0) -> None:
        self.off, self.ticks = off, 1000.0

    def __call__(self) -> float:
        return 1e9 + self.off + self.ticks


def note(config: Config, tmp_path: Path, clock: Times, **status: Any) -> bytes:
    live = tmp_path / "told"
    live.mkdir(exist_ok=True)
    one = ComponentHealth(
        component="learner", model="a", state=Condition.DEGRADED, reason="slow", since=clock() - 30.0, restarts=2
    )
    (live / "health-learner.json").write_text(json.dumps({"components": [one.record()]}))
    (live / "status-learner.json").write_text(json.dumps({"a": {"time": clock() - 2.0, **status}}))
    return LocalNotes(config, live, clock, lambda: clock.ticks).of("a", Order(1, 1, 1))


def test_what_is_told_has_the_times_of_the_clock_here(tmp_path: Path) -> None:
    config, here = host(tmp_path, "serve"), Times(3600.0)

    found = read_note(note(config, tmp_path, Times(), version=7), "a", here())

    assert found is not None
    (component,) = found.components
    assert (component.state, component.reason, component.restarts) == (Condition.DEGRADED, "slow", 2)
    assert here() - component.since == pytest.approx(30.0, abs=0.01)
    assert found.status is not None
    assert (found.status["version"], here() - found.status["time"]) == (7, pytest.approx(2.0, abs=0.01))


def test_a_status_that_is_too_large_is_left_out(tmp_path: Path) -> None:
    content = note(host(tmp_path, "serve"), tmp_path, Times(), curve="x" * (2 << 20))

    found = read_note(content, "a", 1e9)
    assert found is not None
    assert found.status is None
    assert found.components


def test_a_learner_of_which_nothing_is_heard_has_failed(tmp_path: Path) -> None:
    config, board, clock = host(tmp_path, "serve"), InMemoryBoard(), Times()
    notes = RemoteNotes(config, board, clock, lambda: clock.ticks)
    board.note("a", note(config, tmp_path, clock))
    notes.look("a")
    assert notes.components()[0].state is Condition.DEGRADED

    clock.ticks += 60.0
    notes.look("a")

    assert notes.components()[0].state is Condition.FAILED
    assert "not been heard of for 60 s" in notes.components()[0].reason


def test_what_a_superseded_owner_tells_is_not_believed(tmp_path: Path) -> None:
    config, board = host(tmp_path, "serve"), InMemoryBoard()
    notes = RemoteNotes(config, board)
    for generation, version in ((5, 1), (4, 2)):
        told = {"order": [generation, 1, 1], "components": [], "files": {}, "status": {"time": 0, "version": version}}
        board.note("a", json.dumps(told).encode())
        notes.look("a")

    assert notes.statuses()["a"]["version"] == 1


@pytest.mark.parametrize(
    "content",
    [
        b"\xff",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"order": "x", "components": [], "files": {}}',
        b'{"order": [1], "components": [{}], "files": {}}',
        b'{"order": [1], "components": [], "files": []}',
        b'{"order": [1], "components": [], "files": {}, "status": {"time": "now"}}',
    ],
)
def test_what_is_no_note_is_passed_over(tmp_path: Path, content: bytes) -> None:
    notes = RemoteNotes(host(tmp_path, "serve"), board := InMemoryBoard())
    board.note("a", content)

    assert not notes.look("a")
    assert notes.components() == []
    assert notes.keep_files() == []


def test_a_note_writes_no_file_but_those_of_aliases(tmp_path: Path) -> None:
    config, board = host(tmp_path, "serve", ALIAS, **TWO), InMemoryBoard()
    notes = RemoteNotes(config, board)
    names = ["../../../x", "/tmp/x", "x.toml", ".identity", "a.generations.json", "x.jsonl"]
    aliases_folder(config).parent.mkdir()
    there = set(tmp_path.rglob("*"))
    told = {"order": [1, 1, 1], "components": [], "files": dict.fromkeys(names, "")}
    board.note("a", json.dumps(told).encode())
    notes.look("a")

    assert sorted(notes.keep_files()) == ["a.generations.json", "x.jsonl"]

    folder = aliases_folder(config)
    assert set(tmp_path.rglob("*")) - there == {folder, folder / "a.generations.json", folder / "x.jsonl"}


def test_an_old_note_of_one_member_takes_no_promotion_back(tmp_path: Path) -> None:
    config, board, clock = host(tmp_path, "serve", ALIAS, **TWO), InMemoryBoard(), Times()
    notes = RemoteNotes(config, board, clock, lambda: clock.ticks)

    def told(model: str, promotions: str, beat: int) -> None:
        table = {"order": [1, 1, beat], "components": [], "files": {"x.jsonl": promotions}}
        board.note(model, json.dumps(table).encode())
        notes.look(model)
        clock.ticks += 1.0

    for first, then in (("a", "b"), ("b", "a")):
        told(first, f"before {first}", 1 + int(clock.ticks))
        told(then, f"promoted {then}", 1 + int(clock.ticks))
        notes.keep_files()
        assert (aliases_folder(config) / "x.jsonl").read_text() == f"promoted {then}"
        assert notes.keep_files() == []


def test_what_a_learner_tells_besides_versions_is_a_sign_of_life(tmp_path: Path) -> None:
    server, board = host(tmp_path, "serve"), InMemoryBoard()
    follower = Follower(server, live_of(server), board, JoinedRegistry())
    follower.start()
    try:
        until("it to be followed", lambda: follower._receiver.models)
        board.note("a", LocalNotes(server, live_of(server)).of("a", Order(1, 1, 1)))
        until("it to be heard of", lambda: follower._receiver.models["a"].heard_at is not None)
    finally:
        follower.close()


def test_of_many_promotions_the_newest_travel(tmp_path: Path) -> None:
    """The file grows with each, and who answers follows from its end."""
    learner, server = (host(tmp_path, role, ALIAS, **TWO) for role in ("learn", "serve"))
    board, health = InMemoryBoard(), Health()
    made = Promotions(promotions_path(learner, "x"))
    newest = made.settle("a", ["a", "b"])[-1]
    for model in ("b", "a", "b"):
        newest = made.promote_tested(model, newest, {"why": "x" * 50_000})
    told = LocalNotes(learner, live_of(learner), health=health)
    for model in ("b", "a", "b") * 20:
        newest = made.promote(model, newest)
    assert promotions_path(learner, "x").stat().st_size > 128 << 10

    board.note("a", told.of("a", Order(1, 1, 1)))
    keep_aliases(server, board)

    found = Promotions(promotions_path(server, "x")).read()
    assert found == made.read()[-len(found) :]
    assert len(found) > 50
    assert before(found) == before(made.read()) == "a"
    assert health.now().well
    there = Promotions(promotions_path(server, "x")).promote("a", found[-1])  # the host learns from now on
    assert there.number == newest.number + 1


def test_what_is_too_large_to_be_told_is_named(tmp_path: Path) -> None:
    learner, health = host(tmp_path, "learn", **TWO), Health()
    aliases_folder(learner).mkdir(parents=True)
    path = aliases_folder(learner) / "a.generations.json"
    path.write_text("x" * (300 << 10))
    clock = Times()
    notes = LocalNotes(learner, live_of(learner), clock, lambda: clock.ticks, health)

    for model in ("a", "b"):
        notes.of(model, Order(1, 1, 1))

    assert "a.generations.json (307,200 characters" in health.now().reason
    path.write_text("[]")
    notes.of("a", Order(1, 1, 2))
    assert health.now().well
    path.write_text("x" * (300 << 10))
    notes.of("a", Order(1, 1, 3))
    assert not health.now().well
    clock.ticks += 60.0  # it has moved to another host, which tells of it
    notes.tell(InMemoryBoard(), "here")
    assert health.now().well
