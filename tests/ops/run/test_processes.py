"""The service as a user runs it: a supervisor, a server and a learner, killed at random and found whole again."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.models.adapters.sample import SAMPLES as ADAPTED
from tests.ops.running import WAIT, Service, service, until
from tests.samples import sample
from tests.services import warm
from tests.services.kafka import Broker
from tests.services.processes import stop
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.models.contract.registry import BUILT_IN
from thalweg.ops.run.app import new_learner, settings_of
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.learn.rebuild import rebuild_each

pytestmark = pytest.mark.slow

# How many events a slow machine would send while it learns must not decide how long this takes: a backlog that grows
# while a block is learned makes the next block larger, and so on.
_WHILE_IT_STARTS = 400
"""Events."""
_WAITING = 10
"""Records; more are sent only while fewer wait to be taken."""


def hold_against_an_undisturbed_learner(running: Service, kept: Sequence[Manifest]) -> None:
    """Each of these states is the one that a learner reaches from the log and the journal alone, on its way to the
    last of them."""
    model = running.config.model[0]
    settings = settings_of(model, running.config.service.max_message_bytes)
    journal = FileJournal(running.folder / "state" / "m" / "journal", read_only=True)
    versions = [manifest.version for manifest in kept]
    rebuilt = rebuild_each(lambda: new_learner(model), running.log, running.snapshots(), journal, settings, versions)
    for manifest, undisturbed in zip(kept, rebuilt, strict=True):
        assert undisturbed.base == 0
        assert undisturbed.state_sha256 == manifest.state_sha256, manifest.version


def kill_again_and_again(running: Service, kills: int, accuracy: float = 0.8) -> None:
    """Feed a learner process, kill it at random points, let the last one finish; then hold all versions kept, from
    before and after each kill, against the state an undisturbed learner reaches."""
    chance = random.Random(7)
    running.send(100)
    for kill in range(kills):
        process = running.start("learn")
        begun, sent = _journalled(running), running.sent
        wanted = begun + (chance.randint(1, 25) if kill else 0)  # the first dies while it starts
        while (now := _journalled(running)) < wanted:
            assert process.poll() is None, running.text()
            if _waiting(running) < _WAITING if now > begun else running.sent < sent + _WHILE_IT_STARTS:
                running.send(chance.randint(1, 40), per_record=chance.choice([1, 10]))
            time.sleep(chance.random() * 0.05)
        time.sleep(chance.random() * 0.02)
        process.kill()
        process.wait()
    last = running.start("learn")
    until("everything to be learned", lambda: running.published(last.pid) == running.sent)
    assert stop(last) == 0, running.text()

    kept = running.snapshots().manifests()
    assert kept[-1].events_learned == running.sent  # each event once: none lost, none doubled
    hold_against_an_undisturbed_learner(running, kept[1:])
    assert kept[-1].metrics["accuracy"] > accuracy


def _journalled(running: Service) -> int:
    """The newest version in the journal."""
    journal = FileJournal(running.folder / "state" / "m" / "journal", read_only=True)
    return max((entry.version for entry in journal.entries(journal.begins_after() or 0)), default=0)


def _waiting(running: Service) -> int:
    """Records that are not in the journal yet; what it holds is learned or being learned."""
    journal = FileJournal(running.folder / "state" / "m" / "journal", read_only=True)
    taken = {}
    for entry in journal.entries(journal.begins_after() or 0):
        for part in getattr(entry, "ranges", ()):
            taken[part.partition] = part.last + 1
    return sum(end - taken.get(partition, 0) for partition, (_, end) in running.log.bounds(running.topic).items())


def _caught_up(running: Service) -> bool:
    return _waiting(running) == 0


@pytest.mark.slow(10)
def test_killed_at_random_points_over_the_embedded_log_the_state_is_that_of_an_undisturbed_run(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        kill_again_and_again(running, kills=6)


@pytest.mark.slow(10)
@pytest.mark.kafka
def test_killed_at_random_points_over_kafka_the_state_is_that_of_an_undisturbed_run(
    tmp_path: Path, kafka_servers: str
) -> None:
    with service(tmp_path, f"kafka://{kafka_servers}", f"m-{uuid.uuid4().hex[:8]}") as running:
        kill_again_and_again(running, kills=4)


@pytest.mark.slow(10)
@pytest.mark.parametrize("learner", sorted(ADAPTED))
def test_killed_at_random_points_the_state_of_another_librarys_estimator_is_that_of_an_undisturbed_run(
    tmp_path: Path, learner: str
) -> None:
    with service(tmp_path, learner=learner) as running:
        kill_again_and_again(running, kills=2)


@pytest.mark.slow(10)
@pytest.mark.kafka
@pytest.mark.redis
@pytest.mark.parametrize("learner", sorted(BUILT_IN.keys() - {"ridge"}))  # which runs in the two above
def test_killed_at_random_points_the_state_of_every_learner_is_that_of_an_undisturbed_run(
    tmp_path: Path, kafka_servers: str, redis_url: str, learner: str
) -> None:
    topic = f"m-{uuid.uuid4().hex[:8]}"
    log = f"kafka://{kafka_servers}"
    with service(tmp_path, log, topic, learner=learner, store=redis_url, prefix=topic) as running:
        kill_again_and_again(running, kills=4, accuracy=sample(learner).accuracy)


def test_server_and_learner_outlive_each_other_and_come_back(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        supervisor = running.start()
        until("readiness", running.ready)
        running.send(300)
        until("300 events to be served", lambda: running.learned() == 300)

        learner = running.kill("learner")
        assert running.predict().parameters["learned_events"].int64_param == 300  # the server answers on
        until("another learner", lambda: running.pid("learner") not in (None, learner))
        running.send(100)
        until("400 events to be served", lambda: running.learned() == 400)
        until(
            "the restart to be counted", lambda: running.metric("thalweg_process_restarts_total", role="learner") == 1
        )

        server = running.kill("server")
        running.send(100)  # the learner goes on
        until("another server", lambda: running.pid("server") not in (None, server))
        until("500 events to be served", lambda: running.learned() == 500)
        assert running.metric("thalweg_process_restarts_total", role="server") == 1
        assert running.metric("thalweg_process_up", role="learner") == 1

        assert stop(supervisor, WAIT) == 0, running.text()
        newest = running.snapshots().newest()
        assert newest is not None
        assert newest.manifest.events_learned == 500


def test_while_the_learner_is_down_answers_go_on_and_say_how_stale_they_are(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        learner = running.start("learn")
        running.start("serve")
        running.send(50)
        until("50 events to be served", lambda: running.ready() and running.learned() == 50)
        until("both to be up", lambda: running.up() == {"learner": 1, "server": 1})
        learner.kill()
        learner.wait()

        first = running.predict().parameters["staleness_seconds"].double_param

        until("staleness", lambda: running.predict().parameters["staleness_seconds"].double_param > first + 0.2)
        until("it to be told", lambda: "the learner process has not been heard of" in str(degraded(running)))
        until("the metric", lambda: running.up() == {"learner": 0, "server": 1})


def test_a_learner_process_that_stands_still_is_told_then_killed_and_restarted(tmp_path: Path) -> None:
    """SIGSTOP stops every thread of it, as an interpreter lock that is never released would."""
    with service(tmp_path) as running:
        text = running.path.read_text().replace("[service]", "[service]\nsilent_seconds = 20.0")
        running.path.write_text(text)
        supervisor = running.start()
        until("readiness", running.ready)
        running.send(50)
        until("50 events to be served", lambda: running.learned() == 50)
        learner = running.pid("learner")
        assert learner is not None

        os.kill(learner, signal.SIGSTOP)

        until("it to be told", lambda: "the learner process has not been heard of" in str(degraded(running)))
        assert running.metric("thalweg_component_state", component="learner", state="failed") == 1
        assert running.metric("thalweg_process_up", role="learner") == 0
        assert json.loads(running.get("/api/models")[1])["models"][0]["level"] == "bad"
        assert running.predict().parameters["learned_events"].int64_param == 50  # predictions go on
        running.send(50)
        until("another learner", lambda: running.pid("learner") not in (None, learner))
        until("it to learn on", lambda: running.learned() == 100)
        restarted = ["learner process: the learner process was restarted after it sent no heartbeat and was killed"]
        until("that to be told", lambda: degraded(running) == restarted)
        assert "a process sends no heartbeat: killing it" in running.text()
        assert stop(supervisor) == 0, running.text()


def test_when_the_supervisor_is_killed_nobody_is_left_behind(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        supervisor = running.start()
        until("readiness", running.ready)
        pids = [running.pid("server"), running.pid("learner")]

        supervisor.kill()
        supervisor.wait()

        until("both to end", lambda: not any(Path(f"/proc/{pid}").exists() and _alive(pid) for pid in pids))
        again = running.start()
        until("readiness again", running.ready)
        assert stop(again, WAIT) == 0, running.text()


def test_a_service_started_right_after_its_supervisor_was_killed_waits_for_the_addresses(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        supervisor = running.start()
        until("readiness", running.ready)
        server = running.pid("server")
        assert server is not None
        os.kill(server, signal.SIGSTOP)  # it has not ended yet, and cannot

        supervisor.kill()
        supervisor.wait()
        again = running.start()
        until("it to wait", lambda: "wait for the addresses" in running.text())
        os.kill(server, signal.SIGCONT)
        until("readiness again", running.ready)

        assert stop(again, WAIT) == 0, running.text()


def degraded(running: Service) -> list[str]:
    """What readiness names."""
    found: list[str] = json.loads(running.get("/readyz")[1])["degraded"]
    return found


def _alive(pid: int | None) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_second_service_in_the_same_state_folder_is_refused(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        running.start()
        until("readiness", running.ready)

        second = running.start()

        assert second.wait(WAIT) == 2
        assert "another supervisor process uses" in running.text()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        running.start("serve")
        until("a server", lambda: running.get("/healthz")[0] == 200)

        second = running.start("serve")

        assert second.wait(WAIT) == 2  # a supervisor gives up, too
        assert f"cannot listen on 127.0.0.1:{running.ports['grpc']}" in running.text()


@pytest.mark.parametrize("interface", ["grpc", "http"])
def test_a_service_whose_port_is_taken_learns_nothing(interface: str, tmp_path: Path) -> None:
    with service(tmp_path) as running, socket.create_server(("127.0.0.1", running.ports[interface])):
        running.send(20)

        second = running.start()

        assert second.wait(WAIT) == 2
        assert f"cannot listen on 127.0.0.1:{running.ports[interface]} (service.{interface})" in running.text()
        assert not (tmp_path / "state" / "m").exists()
        assert "learning" not in running.text()


def test_a_state_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        (tmp_path / "state").write_text("not a folder")

        process = running.start()

        assert process.wait(WAIT) == 2
        assert "service.state_dir" in running.text()


def test_a_state_made_under_other_settings_ends_everything_with_advice(tmp_path: Path) -> None:
    with service(tmp_path, model='on_change = "refuse"\n') as running:
        running.send(50)
        first = running.start("learn")
        until("a learner", lambda: running.snapshots().manifests())
        assert stop(first, WAIT) == 0
        running.path.write_text(running.path.read_text().replace("expansion = 8", "expansion = 9"))

        process = running.start()

        assert process.wait(WAIT) == 2
        assert running.text().count("was made under other settings (params.expansion: was 8, is 9)") == 1
        assert "a learner died" not in running.text()
        assert "Traceback" not in running.text()


def test_a_truncated_snapshot_is_set_aside_and_the_next_older_one_used(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        for _ in range(2):
            running.send(300)
            process = running.start("learn")
            until("everything to be taken", lambda: _caught_up(running))
            assert stop(process, WAIT) == 0
        newest = running.snapshots().manifests()[-1]
        path = tmp_path / "state" / "m" / str(newest.version) / "state.safetensors"
        path.write_bytes(path.read_bytes()[:-10])

        running.send(100)
        process = running.start("learn")
        until("everything to be taken", lambda: _caught_up(running))
        assert stop(process, WAIT) == 0

        assert "snapshot is damaged" in running.text()
        kept = running.snapshots().manifests()
        assert kept[-1].events_learned == 700
        hold_against_an_undisturbed_learner(running, kept[-1:])


def test_bad_records_are_set_aside_once_and_counted_also_across_a_kill(tmp_path: Path) -> None:
    from thalweg.stream.log.dead_letters import DeadLetters
    from thalweg.stream.log.log import Message

    with service(tmp_path) as running:
        running.start()
        until("readiness", running.ready)
        running.log.append(
            running.topic, [Message(b"{bad", key=b"k", headers=(("h", b"v"),)), Message(b'{"inputs":{}}')]
        )
        running.send(20)
        until("20 events to be served", lambda: running.learned() == 20)
        running.kill("learner")
        running.send(20)
        until("40 events to be served", lambda: running.learned() == 40)

        letters = DeadLetters(running.log, running.topic).newest(100)

        assert [(one.value, one.key, one.reason, one.offset) for one in letters] == [
            (b"{bad", b"k", "malformed", 0),
            (b'{"inputs":{}}', None, "missing_input", 1),
        ]


def test_the_command_line_takes_a_snapshot_back(tmp_path: Path) -> None:
    def thalweg(*arguments: str) -> subprocess.CompletedProcess[str]:
        return warm.run(*arguments, timeout=WAIT, env={**os.environ, "COLUMNS": "200"})

    with service(tmp_path) as running:
        supervisor = running.start()
        until("readiness", running.ready)
        running.send(300)
        until("300 events to be served", lambda: running.learned() == 300)
        config = str(running.path)

        listed = thalweg("snapshot", "list", config, "--model", "m")
        assert listed.returncode == 0, listed.stderr
        back = thalweg("snapshot", "rollback", config, "0", "--model", "m")

        assert back.returncode == 0, back.stderr
        assert "the state is that of version 0 again" in back.stdout
        until("the old state to be served", lambda: running.learned() == 0)
        assert running.metric("thalweg_rollbacks_total", cause="operator") == 1 or until(
            "the metric", lambda: running.metric("thalweg_rollbacks_total", cause="operator") == 1
        )
        gone = thalweg("snapshot", "rollback", config, "999", "--model", "m")
        assert (gone.returncode, "version 999 is not kept" in gone.stderr) == (1, True)
        assert stop(supervisor, WAIT) == 0
        verified = thalweg("snapshot", "verify", config, "--model", "m", "--replay")
        assert verified.returncode == 0, verified.stdout + verified.stderr


ASKING = """
import sys, time
import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException
client = triton.InferenceServerClient(sys.argv[1])
tensor = triton.InferInput("features", [1, 4], "FP32")
tensor.set_data_from_numpy(np.eye(4, dtype=np.float32)[:1])
answered = failed = version = 0
while True:
    try:
        answer = client.infer("m", [tensor], client_timeout=60)
    except InferenceServerException as error:
        failed += 1
        time.sleep(0.02)
    else:
        now = answer.get_response().parameters["state_version"].int64_param
        assert now >= version, f"version went back from {version} to {now}"
        version, answered = now, answered + 1
    print(answered, failed, flush=True)
"""


@pytest.mark.kafka
def test_over_kafka_answers_go_on_while_the_learner_is_killed_and_come_back_when_the_server_is(
    tmp_path: Path, kafka_servers: str
) -> None:
    with service(tmp_path, f"kafka://{kafka_servers}", f"m-{uuid.uuid4().hex[:8]}") as running:
        supervisor = running.start()
        running.send(100)
        until("readiness", running.ready)
        target = f"127.0.0.1:{running.ports['grpc']}"
        heard = tmp_path / "heard"
        with heard.open("wb") as output:
            asking = subprocess.Popen([sys.executable, "-c", ASKING, target], stdout=output, stderr=output)

        def counts() -> tuple[int, int]:
            lines = heard.read_text().splitlines()
            assert asking.poll() is None, lines[-5:]
            answered, failed = lines[-1].split() if lines else ("0", "0")
            return int(answered), int(failed)

        try:
            until("answers", lambda: counts()[0] > 50)
            for _ in range(2):
                learner = running.kill("learner")
                running.send(100)
                until("another learner", lambda learner=learner: running.pid("learner") not in (None, learner))
                until("its events to be served", lambda: running.learned() == running.sent)
            assert counts()[1] == 0  # nobody noticed
            before = counts()[0]
            server = running.kill("server")
            running.send(100)
            until("another server", lambda: running.pid("server") not in (None, server))
            until("its events to be served", lambda: running.learned() == running.sent)
            until("answers again", lambda: counts()[0] > before + 50)
        finally:
            asking.kill()
            asking.wait()
        assert stop(supervisor, WAIT) == 0, running.text()

        kept = running.snapshots().manifests()
        assert kept[-1].events_learned == running.sent
        hold_against_an_undisturbed_learner(running, kept[-1:])


@pytest.mark.slow(30)
@pytest.mark.kafka
def test_with_the_broker_away_at_the_start_what_was_saved_is_served_and_learning_goes_on_when_it_is_back(
    tmp_path: Path, kafka_broker: Broker
) -> None:
    with service(tmp_path, f"kafka://{kafka_broker.servers}", f"m-{uuid.uuid4().hex[:8]}") as running:
        supervisor = running.start()
        running.send(100)
        until("100 events to be served", lambda: running.ready() and running.learned() == 100)
        kafka_broker.stop()
        waiting = "model 'm': learner waiting: "
        until("the log to be named", lambda: any(one.startswith(waiting) for one in degraded(running)))
        until("the page not to be well", lambda: '"level":"well"' not in running.get("/api/models")[1])
        assert stop(supervisor, WAIT) == 0, running.text()
        live = running.folder / "state" / "live"
        shutil.rmtree(live.resolve())  # as after the machine was started again
        live.unlink()

        supervisor = running.start()
        until("readiness without a broker", running.ready)
        until("the log to be named", lambda: "the log is out of reach" in running.get("/readyz")[1])
        assert running.metric("thalweg_log_up") == 0
        until(
            "the learner to be told",
            lambda: running.metric("thalweg_component_state", component="learner", state="waiting"),
        )
        assert running.learned() == 100
        assert running.predict().parameters["staleness_seconds"].double_param > 0
        learner = running.pid("learner")
        until("the learner to try again", lambda: running.text().count("refused: retrying") > 1)
        assert running.pid("learner") == learner

        kafka_broker.start()
        running.send(50)
        until("what came since to be served", lambda: running.learned() == 150)
        assert running.pid("learner") == learner  # it waited, it did not die
        until("all to be well", lambda: degraded(running) == [])
        assert running.metric("thalweg_log_up") == 1
        assert stop(supervisor, WAIT) == 0, running.text()
