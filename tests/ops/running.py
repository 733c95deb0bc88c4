"""The real service as processes, for tests to feed, to ask, and to kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np

from tests.samples import FEATURES, sample
from tests.services import warm
from tests.services.ports import free_port
from tests.services.processes import PATIENCE as WAIT
from tests.services.processes import stop, until
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.models.contract.registry import find
from thalweg.ops.cli.produce import messages
from thalweg.ops.config.config import Config, load
from thalweg.ops.run.app import open_configured_log
from thalweg.proto import inference_pb2 as pb
from thalweg.proto import inference_pb2_grpc
from thalweg.stream.publication.file_channel import FileSubscriber

TOML = """
[service]
grpc = "127.0.0.1:{grpc}"
http = "127.0.0.1:{http}"
state_dir = "{folder}/state"

[log]
url = "{log}"

[store]
url = "{store}"
prefix = "{prefix}"

[[model]]
name = "m"
topic = "{topic}"
batch_events = 16
snapshot_events = 60
snapshots_kept = 1000
ready_after_events = 0
"""


class Service:
    """One service in a folder; its processes come and go, its state stays."""

    def __init__(
        self,
        folder: Path,
        log: str | None = None,
        topic: str = "m.events",
        more: str = "",
        learner: str = "ridge",
        store: str | None = None,
        model: str = "",
        prefix: str = "thalweg",
    ) -> None:
        self.folder = folder
        self.ports = {"grpc": free_port(), "http": free_port()}
        self.path = folder / "thalweg.toml"
        url = log or f"sqlite:{folder}/log.db"
        store = store or f"sqlite:{folder}/store.db"
        head = TOML.format(folder=folder, log=url, store=store, prefix=prefix, topic=topic, **self.ports)
        self.path.write_text(head + model + sample(learner).configuration + more)
        self.learner = learner
        self.config: Config = load(self.path, {})
        self.topic = topic
        self.log = open_configured_log(self.config)
        self.sent = 0
        self.model = "m"
        """The model that is asked."""
        self.output = (folder / "output").open("ab")
        self.processes: list[warm.Process | subprocess.Popen[bytes]] = []

    def start(self, role: str = "all", *, cold: bool = False) -> warm.Process | subprocess.Popen[bytes]:
        arguments = ("serve", str(self.path), "--role", role)
        process: warm.Process | subprocess.Popen[bytes]
        if cold:
            paths = os.pathsep.join([str(warm.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])  # for `tests.…`
            environment = {**os.environ, "PYTHONPATH": paths}
            process = warm.start_cold(*arguments, stdout=self.output, stderr=self.output, env=environment)
        else:
            process = warm.start(*arguments, stdout=self.output, stderr=self.output)
        self.processes.append(process)
        return process

    def send(self, count: int, per_record: int = 1) -> None:
        self.log.append(self.topic, messages(sample(self.learner).events(count, self.sent), per_record))
        self.sent += count

    def text(self) -> str:
        return (self.folder / "output").read_text()

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['http']}{path}", timeout=WAIT) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str, **labels: str) -> float | None:
        """The sample of this name whose labels include these."""
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith((name + "{", name + " ")) and all(f'{k}="{v}"' in line for k, v in labels.items()):
                return float(line.rpartition(" ")[2])
        return None

    def up(self) -> dict[str, float | None]:
        """Which processes run, by role."""
        return {role: self.metric("thalweg_process_up", role=role) for role in ("learner", "server")}

    def ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def pid(self, role: str) -> int | None:
        try:
            roles = json.loads((self.folder / "state" / "live" / "supervisor.json").read_text())["roles"]
        except (OSError, ValueError):
            return None
        return roles[role]["pid"]  # type: ignore[no-any-return]

    def kill(self, role: str) -> int:
        pid = until(f"a {role} process", lambda: self.pid(role))
        os.kill(pid, signal.SIGKILL)
        return int(pid)

    def predict(self) -> pb.ModelInferResponse:
        request = pb.ModelInferRequest(model_name=self.model)
        request.inputs.add(name="features", datatype="FP32", shape=[1, FEATURES])
        request.raw_input_contents.append(np.eye(FEATURES, dtype=np.float32)[:1].tobytes())
        with grpc.insecure_channel(f"127.0.0.1:{self.ports['grpc']}") as channel:
            return inference_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(
                request, timeout=WAIT, wait_for_ready=True
            )

    def learned(self) -> int:
        """Events in the version that is served; 0 while none is: a server may be up before its learner publishes."""
        try:
            return int(self.predict().parameters["learned_events"].int64_param)
        except grpc.RpcError as error:
            if "no version is published yet" not in str(error.details()):  # type: ignore[attr-defined]
                raise
            return 0

    def published(self, pid: int) -> int:
        """Events in the version that this process published; 0 if it has not."""
        watching = FileSubscriber(self.folder / "state" / "live" / "m", find(self.learner).predictor_from)
        watching.look()
        facts = None if watching.current is None else watching.current.info
        return facts.learned_events if facts is not None and facts.pid == pid else 0

    def snapshots(self) -> FolderSnapshots:
        return FolderSnapshots(self.folder / "state" / "m")

    def close(self) -> None:
        codes = [stop(process) for process in self.processes if process.poll() is None]
        self.log.close()
        self.output.close()
        live = self.folder / "state" / "live"
        if live.is_symlink():
            shutil.rmtree(live.resolve(), ignore_errors=True)
        assert not {-signal.SIGABRT, -signal.SIGKILL} & set(codes), f"a process did not stop:\n{self.text()}"


@contextmanager
def service(folder: Path, log: str | None = None, topic: str = "m.events", **more: str) -> Iterator[Service]:
    made = Service(folder, log, topic, **more)
    try:
        yield made
    finally:
        made.close()
