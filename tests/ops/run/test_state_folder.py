"""A state folder that is moved away or removed while a service runs: it is told, and nothing is lost."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.ops.run.test_successors import _live_folders as _live_folders
from tests.ops.run.test_successors import configuration, learning, log, saved, state
from tests.ops.running import Service, service
from tests.samples import events
from tests.services.processes import until
from thalweg.memory.exchange.commands import InMemoryCommandQueue
from thalweg.memory.kept_folders import kept
from thalweg.ops.cli.produce import messages
from thalweg.ops.run.serving import build_server
from thalweg.ops.serve.server import Server
from thalweg.stream.health.registry import Condition, HealthRegistry
from thalweg.stream.log.in_memory import InMemoryLog

__all__ = ["log"]

BACK = "put the folder back where it was"


def problems(registry: HealthRegistry) -> dict[str, str]:
    return {one.component: one.reason for one in registry.report() if one.state is not Condition.RUNNING}


@pytest.mark.parametrize("what", ["state", "state/fraud"])
def test_what_is_learned_while_the_folder_is_away_is_there_once_it_is_back(
    tmp_path: Path, log: InMemoryLog, what: str
) -> None:
    config, folder, away = configuration(tmp_path), tmp_path / what, tmp_path / "away"
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    with ExitStack() as stack:
        registry = stack.enter_context(learning(config, log))
        stack.enter_context(kept(tmp_path / "state"))
        until("the first events to be saved", lambda: saved(config, "fraud") == 40)
        folder.rename(away)

        log.append("t", messages(events(60)[40:], 1))

        until("it to be told", lambda: BACK in problems(registry).get("learner", ""))
        assert not folder.exists()
        away.rename(folder)
        until("it to go on", lambda: saved(config, "fraud") == 60 and not problems(registry))
    whole = InMemoryLog()
    whole.append("t", messages(events(40), 1))
    other = configuration(undisturbed)
    with learning(other, whole):
        until("the first events to be saved", lambda: saved(other, "fraud") == 40)
        whole.append("t", messages(events(60)[40:], 1))
        until("all events to be saved", lambda: saved(other, "fraud") == 60)
    assert state(config, "fraud") == state(other, "fraud")


@pytest.mark.parametrize("what", ["state", "state/fraud"])
def test_a_model_whose_folder_is_removed_does_not_begin_anew_before_a_restart(
    tmp_path: Path, log: InMemoryLog, what: str
) -> None:
    config = configuration(tmp_path)
    with learning(config, log) as registry, kept(tmp_path / "state"):
        until("the first events to be saved", lambda: saved(config, "fraud") == 40)
        shutil.rmtree(tmp_path / what)

        log.append("t", messages(events(60)[40:], 1))

        until("it to be told", lambda: BACK in problems(registry).get("learner", ""))
        until("it to be tried again", lambda: any(one.restarts > 1 for one in registry.report()))
        assert not (tmp_path / what).exists()
    with learning(config, log):
        until("it to begin anew, as it was started so", lambda: saved(config, "fraud") == 60)


def test_a_server_tells_that_its_state_folder_is_away_until_it_is_back(tmp_path: Path, log: InMemoryLog) -> None:
    config = configuration(tmp_path)
    with closing(build_server(config, log, InMemoryCommandQueue())) as server:
        server.start()
        until("it to run", lambda: server_problem(server) == "")
        (tmp_path / "state").rename(tmp_path / "away")

        told = until("it to be told", lambda: server_problem(server))
        (tmp_path / "away").rename(tmp_path / "state")

        assert told.startswith(f"the state folder is out of reach: {tmp_path}/state was moved away or removed while")
        until("it to run again", lambda: server_problem(server) == "")


JOINING = """
labels_topic = "m.labels"
"""


def degraded(running: Service) -> list[str]:
    return [str(one) for one in json.loads(running.get("/readyz")[1] or "{}").get("degraded", [])]


@pytest.mark.parametrize("what", ["state", "state/log.db"])
def test_what_is_away_is_told_once_and_no_liveness_probe_restarts_the_service(tmp_path: Path, what: str) -> None:
    """With log and store in the state folder, as by default."""
    place, away = tmp_path / what, tmp_path / "away"
    inside = {"log": f"sqlite:{tmp_path}/state/log.db", "store": f"sqlite:{tmp_path}/state/store.db"}
    with service(tmp_path, **inside, model=JOINING) as running:
        running.start()
        running.send(80)
        until("the events to be learned", lambda: running.ready() and running.learned() == 80)
        before = len(running.text().splitlines())
        place.rename(away)
        until("it to be told", lambda: any(" out of reach: " in one for one in degraded(running)))
        if what == "state":  # what the learner writes is in it
            until("the learner to be silent", lambda: "has not been heard of" in running.get("/readyz")[1])

        alive, told = running.get("/healthz"), degraded(running)
        log = running.text().splitlines()[before:]
        away.rename(place)
        running.send(20)
        until("it to go on", lambda: running.learned() == 100)
        until("everything to be well", lambda: not [one for one in degraded(running) if "was restarted" not in one])

    assert alive == (200, "ok\n")
    assert len({one.partition(f"{tmp_path}/")[2] for one in told}) == 1, "one cause with one instruction"
    assert all("put" in one and "back where it was" in one for one in told)
    assert len(log) < 12
    assert not [line for line in log if "Traceback" in line]
    assert what != "state" or len(told) == 1


def server_problem(server: Server) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}/readyz", timeout=10) as answer:
            told = json.load(answer)
    except urllib.error.HTTPError as refused:  # there is no version yet
        told = json.load(refused)
    (found,) = [one for one in told["components"] if one["component"] == "state_folder"]
    return "" if found["state"] == "running" else found["reason"] or found["state"]
