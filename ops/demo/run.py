"""`thalweg demo`: handwritten digits as a stream with visible drift, through the real service.

First two classes, then the others one after another; from the middle on the images rotate. The events go through the
embedded log into three learners; this process requests predictions over gRPC, each before its label is sent. Then
a stream of clicks (`clicks`), one of visits (`visits`), and a camera that fogs over (`camera`).
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from rich.console import Console
from rich.table import Table

from thalweg.models.contract.learner import Predictor
from thalweg.models.contract.registry import find
from thalweg.ops.cli.process.standard_streams import stop_signals
from thalweg.ops.config.environment import PREFIX
from thalweg.ops.demo import camera as demo_camera
from thalweg.ops.demo import clicks as demo_clicks
from thalweg.ops.demo import visits as demo_visits
from thalweg.ops.demo.pace import Pace
from thalweg.ops.run.stop_request import StopRequest
from thalweg.ops.run.supervisor import PARENT
from thalweg.proto import inference_pb2 as pb
from thalweg.proto import inference_pb2_grpc
from thalweg.proto.encode import to_json
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.schema import Array
from thalweg.stream.evaluation.prequential import Prequential
from thalweg.stream.log.log import Log, Message
from thalweg.stream.log.sqlite import SqliteLog
from thalweg.stream.publication.file_channel import FileSubscriber
from thalweg.stream.publication.live_folder import live_folder

RATE = 800.0
"""Events per second."""
_STEP = 20  # events appended at once
_FROZEN_SHARE = 0.35  # of the stream after which the frozen baseline stops learning: it has seen seven of ten classes
_TURN_DEGREES = 75.0
_UNLABELLED = 2000  # images without labels, from which the bottleneck learns its keys
_START_SECONDS = 300.0  # a process that ends is seen at once; a busy machine learns the keys for minutes
_MODELS = {  # learner and parameters
    "digits": ("ridge", ""),
    "digits-linear": ("ridge", "expansion = 0\n"),
    "digits-bottleneck": ("bottleneck", 'key_file = "{folder}/unlabelled.npy"\nkey_steps = 200\n'),
}
_CONFIG = """\
[service]
grpc = "127.0.0.1:{grpc}"
http = "127.0.0.1:{http}"
state_dir = "{folder}/state"
token_file = "{folder}/token"

[log]
url = "sqlite:{folder}/log.db"

[store]
url = "sqlite:{folder}/store.db"
"""
_MODEL = """
[[model]]
name = "{name}"
learner = "{learner}"
topic = "digits.events"
batch_events = 32
snapshot_events = 5000
ready_after_events = 0
inputs.features = {{ shape = [64], dtype = "float32" }}
[model.params]
{params}"""


def configuration(folder: Path, grpc: int, http: int) -> str:
    """The demo's, with its files in a folder, as TOML."""
    models = "".join(
        _MODEL.format(name=name, learner=learner, params=params.format(folder=folder))
        for name, (learner, params) in _MODELS.items()
    )
    camera = demo_camera.MODEL.format(weights=folder / "camera.safetensors")
    service = _CONFIG.format(folder=folder, grpc=grpc, http=http)
    return service + models + demo_clicks.MODEL + demo_visits.MODEL + camera


class DemoFailed(OSError):
    """The demo could not run; the message says why."""


@dataclass
class _Watched:
    """What is observed of one model from outside."""

    name: str
    published: FileSubscriber
    evaluation: Prequential = field(default_factory=lambda: Prequential(500))
    frozen: Prequential = field(default_factory=lambda: Prequential(500))
    twin: Predictor | None = None
    latencies: list[float] = field(default_factory=list)


def digits(count: int, seed: int = 0) -> Iterator[tuple[Array, str, int, float]]:
    """The stream: pixels (64,) float32, class name, number of classes so far, and rotation of the images in degrees.

    Raises:
        DemoFailed: scikit-learn, which provides the images, is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DemoFailed("the demo needs scikit-learn's digits; run: pip install 'thalweg[demo]'") from error
    from scipy.ndimage import rotate

    images, labels = load_digits(return_X_y=True)
    images = (images / 16.0).astype(np.float32).reshape(-1, 8, 8)
    by_class = [np.flatnonzero(labels == name) for name in range(10)]
    random = np.random.default_rng(seed)
    for number in range(count):
        progress = number / count
        classes = min(10, 2 + int(progress / 0.5 * 9))
        turned = max(0.0, progress - 0.5) / 0.5 * _TURN_DEGREES
        name = int(random.integers(classes))
        image = images[random.choice(by_class[name])]
        if turned:
            image = rotate(image, turned, reshape=False, order=1)
        noisy = image + random.normal(0, 0.05, image.shape)
        yield noisy.astype(np.float32).reshape(64), str(name), classes, turned


def run(*, keep: bool, seconds: float) -> None:
    """Run it, print the table; with `keep`, keep running until Ctrl-C.

    Raises:
        DemoFailed: The service did not become ready or did not respond; with its last log lines.
    """
    console = Console(soft_wrap=True)
    for number in stop_signals():
        if number != signal.SIGINT:  # the others are as Ctrl-C: started processes are ended
            signal.signal(number, _leave)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="thalweg-demo-")))
        ports = {"grpc": _free_port(), "http": _free_port()}
        config = folder / "demo.toml"
        (folder / "token").write_text(secrets.token_urlsafe(24) + "\n", encoding="utf-8")
        np.save(folder / "unlabelled.npy", np.stack([pixels for pixels, *_ in digits(_UNLABELLED, seed=1)]))
        demo_camera.prepare(folder / "camera.safetensors")
        config.write_text(configuration(folder, **ports), encoding="utf-8")
        console.print(f"starting the service: a server and a learner process, state in {folder}", highlight=False)
        console.print(f"  the page: http://127.0.0.1:{ports['http']}/", highlight=False)
        service = _start(config)
        stack.callback(lambda: shutil.rmtree((folder / "state" / "live").resolve(), ignore_errors=True))
        stack.callback(_end, service)
        _await_ready(service, ports["http"], folder)
        log = SqliteLog(folder / "log.db")
        stack.callback(log.close)
        watched = [_watch(name, live_folder(folder / "state")) for name in _MODELS]
        for model in watched:
            stack.callback(model.published.close)
        shop, site = (
            FileSubscriber(live_folder(folder / "state") / name, find(learner).predictor_from)
            for name, learner in ((demo_clicks.NAME, "error_memory"), (demo_visits.NAME, "prompt_tpp"))
        )
        for published in (shop, site):
            published.start()
            stack.callback(published.close)
        channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{ports['grpc']}"))
        try:
            elapsed = _stream(console, log, watched, channel, int(RATE * seconds))
            page = _settled(watched, int(RATE * seconds), ports["http"])
            _report(console, watched, page, elapsed)
            stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
            seen = demo_clicks.stream(console, log, shop, stub, int(demo_clicks.RATE * 0.4 * seconds))
            demo_clicks.report(console, seen, Path.cwd())
            visited = demo_visits.stream(console, log, site, stub, int(demo_visits.RATE * 0.75 * seconds))
            demo_visits.report(console, visited, Path.cwd())
            looked = demo_camera.stream(
                console,
                stub,
                folder / "camera.safetensors",
                int(demo_camera.RATE * 0.4 * seconds),
                (folder / "token").read_text(encoding="utf-8").strip(),
            )
            demo_camera.report(console, looked, Path.cwd())
        except (grpc.RpcError, OSError) as error:
            raise DemoFailed(f"the service did not respond: {error}{_said(folder)}") from error
        if keep:
            _stay(console, ports, config, (folder / "token").read_text(encoding="utf-8").strip())


def _stream(console: Console, log: Log, watched: list[_Watched], channel: Any, count: int) -> float:
    """Predict, then send: each step's events are predicted over gRPC and by a local frozen baseline, then sent."""
    stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
    pace, waiting, next_line = Pace(RATE, [model.published for model in watched]), [], 0.1
    for number, (pixels, name, classes, turned) in enumerate(digits(count), 1):
        waiting.append((pixels, name))
        if len(waiting) < _STEP and number < count:
            continue
        batch = _batch(waiting)
        waiting = []
        for model in watched:
            _ask(stub, model, batch)
            if model.twin is None and number > _FROZEN_SHARE * count and model.published.current is not None:
                model.twin = model.published.current.predictor
        log.append("digits.events", [Message(value) for value in to_json(batch)])
        if number / count >= next_line:
            next_line += 0.1
            learning, frozen = (one.recent().get("accuracy", 0.0) for one in (watched[0].evaluation, watched[0].frozen))
            beside = f"frozen {frozen:.2f}" if watched[0].twin is not None else ""
            console.print(
                f"{pace.seconds:5.1f} s  {classes:2d} classes, turned {turned:2.0f}°   "
                f"accuracy, last 500: learning {learning:.2f}  {beside}",
                highlight=False,
            )
        pace.wait(number)
    return pace.seconds


def _ask(stub: Any, model: _Watched, batch: Batch) -> None:
    served = model.published.current
    for row in range(len(batch)):
        one = batch[row : row + 1]
        if row % 10 == 0:  # every tenth over gRPC: the others would only query the same version again
            request = pb.ModelInferRequest(model_name=model.name)
            request.inputs.add(name="features", datatype="FP32", shape=[1, 64])
            request.raw_input_contents.append(one.inputs["features"].tobytes())
            before = time.perf_counter()
            stub.ModelInfer(request)
            model.latencies.append(time.perf_counter() - before)
    if served is not None:
        answers = served.predictor.predict(batch.inputs)
        model.evaluation.predicted(batch, served.predictor, answers)
        twin = model.twin or served.predictor
        model.frozen.predicted(batch, twin, answers if twin is served.predictor else twin.predict(batch.inputs))


def _batch(events: list[tuple[Array, str]]) -> Batch:
    table: dict[str, int] = {}
    codes = np.array([table.setdefault(name, len(table)) for _, name in events], dtype=np.int32)
    return Batch(
        {"features": np.stack([pixels for pixels, _ in events])},
        ClassLabels(codes, tuple(table)),
        np.ones(len(events)),
        np.full(len(events), time.time()),
    )


def _report(console: Console, watched: list[_Watched], page: str, elapsed: float) -> None:
    table = Table("model", "events/s", "accuracy", "frozen", "predict p50/p99", "drift alarms", box=None)
    for model in watched:
        learned = _sample(page, "thalweg_events_learned_total", f'model_name="{model.name}"')
        accuracy = _sample(page, "thalweg_prequential", f'metric="accuracy",model_name="{model.name}",window="all"')
        half, most = np.percentile(model.latencies, [50, 99]) * 1000
        table.add_row(
            model.name,
            f"{learned / elapsed:,.0f}",
            f"{accuracy:.3f}",
            f"{model.frozen.metrics()['accuracy']:.3f}",
            f"{half:.2f} / {most:.2f} ms",
            f"{_total(page, 'thalweg_drift_alarms_total', model.name):.0f}",
        )
    console.print()
    console.print(table)
    console.print(
        "accuracy: each event predicted before it was learned; frozen: the same model, stopped after "
        f"{_FROZEN_SHARE:.0%} of the stream; drift alarms: changes that the service noticed by itself.",
        highlight=False,
    )


def _sample(page: str, name: str, labels: str) -> float:
    for line in page.splitlines():
        if line.startswith(f"{name}{{{labels}}}"):
            return float(line.rpartition(" ")[2])
    return float("nan")


def _total(page: str, name: str, model: str) -> float:
    """The sum of a model's samples of one name."""
    lines = [line for line in page.splitlines() if line.startswith(f"{name}{{") and f'model_name="{model}"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def _stay(console: Console, ports: dict[str, int], config: Path, token: str) -> None:
    console.print(
        f"\nstill serving; Ctrl-C ends it\n"
        f"  the page    http://127.0.0.1:{ports['http']}/\n"
        f"  its token   {token}\n"
        f"  metrics     http://127.0.0.1:{ports['http']}/metrics\n"
        f"  REST        http://127.0.0.1:{ports['http']}/v2/models/digits\n"
        f"  gRPC        127.0.0.1:{ports['grpc']}\n"
        f"  versions    thalweg snapshot list {config} --model digits",
        highlight=False,
    )
    stop = StopRequest()
    for number in stop_signals():
        signal.signal(number, lambda *_: stop.set())
    stop.wait()


def _start(config: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "thalweg.ops.cli", "serve", str(config)]
    ours = {key: text for key, text in os.environ.items() if not (key.startswith(PREFIX) and "__" in key)}
    with (config.parent / "service.log").open("wb") as output:
        # its own session: Ctrl-C reaches only us, and we stop it in order; if we are killed, it stops by itself
        return subprocess.Popen(
            command, stdout=output, stderr=output, start_new_session=True, env={**ours, PARENT: str(os.getpid())}
        )


def _leave(number: int, _: object) -> None:
    for one in stop_signals():
        signal.signal(one, signal.SIG_IGN)
    sys.exit(128 + number)


def _said(folder: Path) -> str:
    """The last lines that the service logged."""
    return "".join(
        f"\n  {line}"
        for line in (folder / "service.log").read_text(encoding="utf-8", errors="replace").splitlines()[-10:]
    )


def _end(service: subprocess.Popen[bytes]) -> None:
    service.terminate()
    try:
        service.wait(30)
    except subprocess.TimeoutExpired:
        service.kill()


def _await_ready(service: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and service.poll() is None:
        try:
            if json.loads(_get(port, "/readyz"))["ready"]:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise DemoFailed(f"the service did not become ready (exit code {service.poll()}){_said(folder)}")


def _settled(watched: list[_Watched], count: int, port: int) -> str:
    """The metrics once all events are learned; after half a minute, as they are."""
    deadline = time.monotonic() + 30
    while True:
        page = _get(port, "/metrics")
        learned = [_sample(page, "thalweg_events_learned_total", f'model_name="{one.name}"') for one in watched]
        if min(learned) >= count or time.monotonic() > deadline:
            return page
        time.sleep(0.1)


def _watch(name: str, live: Path) -> _Watched:
    published = FileSubscriber(live / name, find(_MODELS[name][0]).predictor_from)
    published.start()
    return _Watched(name, published)


def _get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return str(answer.read().decode())


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
