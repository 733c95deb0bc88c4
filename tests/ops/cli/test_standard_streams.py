"""The command line under whatever started it: closed streams, another locale, a terminal that closes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ops.running import service
from tests.services import warm
from tests.services.ports import free_port
from tests.services.processes import PATIENCE, stop, until
from thalweg.ops.cli.process.standard_streams import stop_signals

PYTHONPATH = os.pathsep.join(path for path in sys.path if path)


@pytest.fixture(autouse=True)
def _terminal() -> Iterator[None]:
    """A hangup counts for what is started here, also where the tests run under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_service_runs_whichever_standard_streams_are_closed(tmp_path: Path, closed: str) -> None:
    with service(tmp_path) as running:
        command = ["sh", "-c", f'exec "$@" {closed}', "sh", *warm.COMMAND, "serve", str(running.path)]
        process = subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": PYTHONPATH}, stdout=running.output, stderr=running.output
        )
        running.processes.append(process)
        until("readiness", lambda: running.ready() or process.poll() is not None)
        running.send(20)
        until("20 events", lambda: running.learned() == 20)

        assert stop(process) == 0


@pytest.mark.slow
def test_what_is_printed_is_utf_8_whatever_the_locale_is() -> None:
    here = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": PYTHONPATH}

    done = subprocess.run([*warm.COMMAND, "schema"], env=here, capture_output=True, timeout=PATIENCE)

    assert done.returncode == 0, done.stderr.decode()
    assert "…" in done.stdout.decode()


@pytest.mark.slow
def test_a_terminal_that_closes_ends_a_service_as_a_stop_does(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        process = running.start(cold=True)
        until("readiness", running.ready)
        running.send(20)
        until("20 events", lambda: running.learned() == 20)
        process.send_signal(signal.SIGHUP)

        assert process.wait(PATIENCE) == 0
        assert running.snapshots().manifests()[-1].events_learned == 20


def test_under_nohup_a_terminal_that_closes_ends_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        assert signal.SIGHUP in stop_signals()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert signal.SIGHUP not in stop_signals()
    finally:
        signal.signal(signal.SIGHUP, before)


WANDERING = "import os\n\n\ndef encode(x):\n    os.chdir('/')\n    return x\n"
CONFIG = """[service]
grpc = "127.0.0.1:{grpc}"
http = "127.0.0.1:{http}"
[[model]]
name = "wanders"
learner = "ridge"
topic = "one"
encoder = "wandering:encode"
inputs.x = {{ shape = [2] }}
[[model]]
name = "stays"
learner = "ridge"
topic = "other"
inputs.x = {{ shape = [2] }}
"""


@pytest.mark.slow
def test_a_plug_in_that_changes_the_working_directory_takes_no_model_its_files(tmp_path: Path) -> None:
    (tmp_path / "wandering.py").write_text(WANDERING)
    http = free_port()
    (tmp_path / "thalweg.toml").write_text(CONFIG.format(grpc=free_port(), http=http))

    def post(path: str, body: object) -> dict[str, object]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{http}{path}", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return dict(json.load(answer)) if path.endswith("predict") else {}
        except OSError:
            return {"error": "not yet"}

    events = [{"inputs": {"x": [i % 2, 1]}, "label": i % 2} for i in range(20)]
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(
            [*warm.COMMAND, "serve", "thalweg.toml"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": PYTHONPATH},
            stdout=output,
            stderr=output,
        )
        try:
            for model in ("wanders", "stays"):
                until("the log", lambda model=model: not post(f"/v1/models/{model}/events", events))  # type: ignore[misc]
                until("an answer", lambda model=model: "label" in post(f"/v1/models/{model}/predict", {"x": [1, 1]}))  # type: ignore[misc]
        finally:
            code = stop(process)

    assert code == 0, (tmp_path / "output").read_text()
    for model in ("wanders", "stays"):
        assert any((tmp_path / "state" / model).glob("[1-9]*")), "no snapshot was saved"


@pytest.mark.slow
def test_a_terminal_that_closes_ends_the_demo_with_all_that_it_started(tmp_path: Path) -> None:
    folder, output = tmp_path / "temporary", tmp_path / "output"
    folder.mkdir()
    here = {**os.environ, "PYTHONPATH": PYTHONPATH, "TMPDIR": str(folder)}
    with output.open("wb") as file:
        process = subprocess.Popen([*warm.COMMAND, "demo"], env=here, stdout=file, stderr=file)
    try:
        until("its service", lambda: "the page" in output.read_text(encoding="utf-8") or process.poll() is not None)
        assert list(folder.glob("thalweg-demo-*"))
        process.send_signal(signal.SIGHUP)

        assert process.wait(PATIENCE) == 128 + signal.SIGHUP
        assert not list(folder.glob("thalweg-demo-*"))
    finally:
        process.kill()
        process.wait()
