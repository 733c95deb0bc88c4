"""What cannot be logged ends nothing: the disk of the log is full, or whoever read it has left."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import pytest
import structlog

from tests.ops.running import service, until
from tests.services import warm
from tests.services.processes import PATIENCE, stop
from thalweg.ops.run import logs


@pytest.fixture(params=["closed", "full disk", "nobody reads"])
def stream(request: pytest.FixtureRequest) -> Iterator[TextIO]:
    if request.param == "closed":
        yield io.StringIO()  # the test closes it
    elif request.param == "full disk":
        made: TextIO = open("/dev/full", "w", buffering=1)  # noqa: SIM115, PTH123 - its close raises, too
        yield made
        with suppress(OSError):  # it cannot write what it holds
            made.close()
    else:
        reading, writing = os.pipe()
        made = os.fdopen(writing, "w", buffering=1)
        os.close(reading)
        yield made
        with suppress(OSError):  # it cannot write what it holds
            made.close()


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_line_that_cannot_be_written_is_lost_and_nothing_is_raised(
    stream: TextIO, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", stream)
    logs.configure(form)
    log = structlog.get_logger()
    if isinstance(stream, io.StringIO):
        stream.close()

    log.info("something", value=1)
    log.error("more of it", exc_info=ValueError("why"))


@pytest.mark.slow
def test_a_service_whose_log_nobody_reads_any_more_learns_and_answers(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        running.send(50)
        reading, writing = os.pipe()
        with os.fdopen(writing, "w") as output:
            process = warm.start("serve", str(running.path), stdout=output, stderr=output)
            running.processes.append(process)
        os.close(reading)
        until("readiness", running.ready)
        until("50 events", lambda: running.learned() == 50)
        running.kill("learner")  # which is told
        running.send(50)
        until("100 events", lambda: running.learned() == 100)

        assert stop(process) == 0


@pytest.mark.slow
def test_as_json_also_what_grpc_finds_wrong_is_a_line_of_json(tmp_path: Path) -> None:
    with service(tmp_path) as running, socket.create_server(("127.0.0.1", running.ports["grpc"])):
        command = [*warm.COMMAND, "serve", str(running.path), "--log-format", "json"]  # gRPC's library is loaded anew
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)

    assert done.returncode == 2
    assert "cannot listen on" in done.stderr
    assert all(json.loads(line)["event"] for line in done.stderr.splitlines())
