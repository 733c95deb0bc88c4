"""What a process imports: nothing that its learners do not need, and nothing more once it is forked from a standby."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from thalweg.models.contract.registry import BUILT_IN

pytestmark = pytest.mark.slow

CONFIG = """
[service]
grpc = "127.0.0.1:0"
http = "127.0.0.1:0"
state_dir = "{folder}/state"
[log]
url = "sqlite:{folder}/log.db"
[store]
url = "sqlite:{folder}/store.db"
"""
MODEL = """
[[model]]
name = "{name}"
learner = "{learner}"
topic = "{name}"
inputs = {inputs}
"""
WIDE = "{ x = { shape = [2] } }"
CLICKS = "{ user = { shape = [], dtype = 'int64' }, item = { shape = [], dtype = 'int64' } }"
RUN = """
import json, sys, threading, time
from pathlib import Path
import thalweg.ops.cli.main
from thalweg.ops.config.config import load

if "preload" in sys.argv:
    import tomllib
    from thalweg.ops.run.fork_server import preload
    preload(tomllib.loads(Path(sys.argv[1]).read_text()))
    assert len(list(Path("/proc/self/task").iterdir())) == 1
    before = set(sys.modules)
else:
    before = set()

from thalweg.ops.run.processes import run_learners, run_server
from thalweg.ops.run.stop_request import StopRequest
from thalweg.stream.log.log import Message
from thalweg.stream.log.sqlite import SqliteLog

config = load(Path(sys.argv[1]), {})
log = SqliteLog(config.log.url.partition(":")[2])
for model in config.model:
    value = {name: 1 if spec.shape == () else [1.0, 2.0] for name, spec in model.specs().items()}
    records = [{"inputs": value, "label": label, "key": "k"} for label in (["a", "b"] if "x" in value else [1, 0])]
    log.append(model.topic, [Message(json.dumps(record).encode()) for record in records])
stop, answered = StopRequest(), []

def ask(server):
    import urllib.request
    for model in config.model:
        url = f"http://127.0.0.1:{server.http_port}/v2/models/{model.name}"
        while not answered or answered[-1][0] != model.name:
            try:
                urllib.request.urlopen(url + "/ready").read()
            except OSError:
                time.sleep(0.02)
                continue
            inputs = [
                {"name": name, "datatype": "INT64" if spec.shape == () else "FP32", "shape": [1, *spec.shape],
                 "data": [1] * max(1, sum(spec.shape))}
                for name, spec in model.specs().items()
            ]
            body = json.dumps({"inputs": inputs}).encode()
            answered.append((model.name, urllib.request.urlopen(url + "/infer", body).status))
    stop.set()

learner = threading.Thread(target=run_learners, args=(config, stop))
learner.start()
run_server(config, stop, lambda server: threading.Thread(target=ask, args=(server,)).start())
learner.join()
assert [status for _, status in answered] == [200] * len(config.model), answered
print(*(set(sys.modules) - before))
"""


def modules(folder: Path, learners: dict[str, str], *options: str) -> set[str]:
    """What a process imports that learns, publishes and serves models of these learners, given by their inputs."""
    models = "".join(MODEL.format(name=name, learner=name, inputs=inputs) for name, inputs in learners.items())
    path = folder / "t.toml"
    path.write_text(CONFIG.format(folder=folder) + models)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(path), *options], capture_output=True, text=True, env=environment, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())  # logs come before


def test_models_that_need_no_torch_learn_and_serve_without_it(tmp_path: Path) -> None:
    found = modules(tmp_path, {"ridge": WIDE, "nearest_mean": WIDE, "bottleneck": WIDE})

    assert {"grpc", "thalweg.models.bottleneck.learner"} <= found
    assert not found & {"torch", "sklearn", "scipy.stats", "kafka", "redis", "pandas"}


def test_what_is_forked_from_a_standby_imports_no_library_any_more(tmp_path: Path) -> None:
    learners = {"ridge": WIDE, "nearest_mean": WIDE, "bottleneck": WIDE, "error_memory": CLICKS}
    assert learners.keys() < BUILT_IN.keys()

    late = modules(tmp_path, learners, "preload")

    roots = {name.partition(".")[0] for name in late}
    assert not roots & {"torch", "faiss", "river", "scipy", "sklearn", "pydantic", "starlette", "thalweg"}, late
    assert len(late) < 60, late  # what uvicorn, anyio and grpc import when they begin
