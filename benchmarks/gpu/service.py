"""The service as users start it, with models on the GPU: it learns and answers, is killed, goes on, and verifies.

Everything is done by the command line, over the embedded log, in a folder of its own.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import numpy as np

Told = tuple[str, str]

NEEDED = ("grpc", "typer", "uvicorn", "starlette", "prometheus_client", "river", "redis", "kafka")
"""What the service needs beside what the tests of devices do."""
_SIDE = 16
_PATIENCE = 60.0
_MODELS = {
    "photos": 'learner = "cotta"\ninputs.image = { shape = [3, 16, 16], dtype = "float32" }\n[model.params]\n'
    'model = "benchmarks.gpu.network:residual"\nadapt_batch = 16\nfollow_batch = 16\n',
    "digits": 'learner = "ridge"\ninputs.x = { shape = [16], dtype = "float32" }\n[model.params]\nexpansion = 600\n',
    "clicks": 'learner = "error_memory"\ninputs.user = { shape = [], dtype = "int64" }\n'
    'inputs.item = { shape = [], dtype = "int64" }\n[model.params]\nviews = "user+item+key"\n',
    "visits": 'learner = "prompt_tpp"\ninputs.key = { shape = [], dtype = "bytes" }\n'
    "[model.params]\nunit_gaps = 10\nwidth = 16\n",
}
_ASKED: dict[str, dict[str, Any]] = {
    "photos": {"image": np.full((3, _SIDE, _SIDE), 0.5).tolist()},
    "digits": {"x": [1.0] * 16},
    "clicks": {"user": 3, "item": 4},
}


def missing() -> list[str]:
    """Packages that the service needs and this machine lacks."""
    return [name for name in NEEDED if find_spec(name) is None]


def rows(events: int) -> Iterator[Told]:
    """What was done, and what was seen; raises AssertionError where it is not what it should be."""
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder)
        ports = _free_ports(2)
        _configure(there, ports)
        for name in _MODELS:
            every = [json.dumps(event) + "\n" for event in _events(name, 2 * events)]
            for part, some in enumerate((every[:events], every[events:])):
                (there / f"{name}.{part}.jsonl").write_text("".join(some))
        with _service(there) as running:
            _append(there, 0)
            _until("the first half to be learned", lambda: _waiting(ports[1]) == 0)
            for name, asked in _ASKED.items():
                found = json.loads(_thalweg(there, "predict", "--model", name, text=json.dumps(asked), port=ports[0]))
                yield f"one answer of {name}", json.dumps(found).replace("|", " ")[:70]
            _append(there, 1)
            os.killpg(running.pid, signal.SIGKILL)
        with _service(there):
            _until("the rest to be learned", lambda: _waiting(ports[1]) == 0)
            yield "killed, and gone on", f"{2 * events} events of each model"
        for name in _MODELS:
            manifest = max((there / "state" / name).rglob("*.json"), key=lambda path: path.stat().st_mtime)
            where = json.loads(manifest.read_text()).get("software", {}).get("device", "no device")
            said = _thalweg(there, "snapshot", "verify", "--model", name, "--replay").strip().splitlines()
            yield f"{name}, learned on {where.partition(',')[0]}, verified", said[-1][:110]


def _configure(there: Path, ports: list[int]) -> None:
    text = f'[service]\ngrpc = "127.0.0.1:{ports[0]}"\nhttp = "127.0.0.1:{ports[1]}"\nstate_dir = "{there}/state"\n'
    text += f'[log]\nurl = "sqlite:{there}/log.db"\n[store]\nurl = "sqlite:{there}/store.db"\n'
    for name, model in _MODELS.items():
        text += f'[[model]]\nname = "{name}"\ntopic = "{name}.events"\ndevice = "cuda"\n{model}'
    (there / "thalweg.toml").write_text(text)


def _events(name: str, count: int) -> Iterator[dict[str, Any]]:
    generator = np.random.default_rng(len(name))
    for number in range(count):
        code = int(generator.integers(4))
        event: dict[str, Any] = {"id": f"{name}-{number}", "time": 1.7e9 + number}
        if name == "photos":
            event["inputs"] = {"image": generator.random((3, _SIDE, _SIDE)).round(3).tolist()}
        elif name == "digits":
            event |= {"inputs": {"x": (generator.standard_normal(16) + code).tolist()}, "label": "abcd"[code]}
        elif name == "clicks":
            event["inputs"] = {"user": int(generator.integers(40)), "item": int(generator.integers(20))}
            event["label"] = code % 2
        else:
            event |= {"inputs": {"key": str(generator.integers(8))}, "label": "abcd"[code]}
        yield event


def _append(there: Path, part: int) -> None:
    for name in _MODELS:
        _thalweg(there, "produce", "--topic", f"{name}.events", "--input", f"{name}.{part}.jsonl")


def _thalweg(there: Path, *arguments: str, text: str = "", port: int = 0) -> str:
    """One command; what it printed."""
    first, *rest = arguments
    more = ["--target", f"127.0.0.1:{port}"] if first == "predict" else [str(there / "thalweg.toml")]
    if first == "snapshot":
        first, rest, more = "snapshot", rest[1:], [rest[0], *more]
    command = [*_program(), first, *more, *rest]
    done = subprocess.run(
        command, cwd=there, env=_environment(), input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr[-600:]} {done.stdout[-300:]}"
    return done.stdout


def _program() -> list[str]:
    return [sys.executable, "-c", "import sys; from thalweg.ops.cli.main import main; sys.exit(main())"]


def _environment() -> dict[str, str]:
    return {**os.environ, "THALWEG_GPU_BLOCKS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


@contextmanager
def _service(there: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Runs in here; stopped by SIGTERM at the end if it still runs."""
    with (there / "service.log").open("ab") as log:
        running = subprocess.Popen(
            [*_program(), "serve", str(there / "thalweg.toml")],
            cwd=there,
            env=_environment(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield running
        except BaseException:
            print((there / "service.log").read_text()[-3000:], file=sys.stderr)
            raise
        finally:
            if running.poll() is None:
                running.terminate()
            running.wait(60)


def _waiting(port: int) -> float:
    """Records that are not consumed yet; infinite where not every model says how many."""
    try:
        with build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
            lines = page.read().decode().splitlines()
    except OSError:
        return float("inf")
    found = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("kafka_consumergroup_lag_sum{")]
    return sum(found) if len(found) == len(_MODELS) else float("inf")


def _until(what: str, true: Callable[[], bool]) -> None:
    until = time.monotonic() + _PATIENCE
    while not true():
        assert time.monotonic() < until, f"waited {_PATIENCE:.0f} s for {what}"
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
