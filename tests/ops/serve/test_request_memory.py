"""What a request costs in memory is bounded, whatever its form: of a real server, by what its process holds."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from tests.ops.serve.bodies import KINDS, Asked
from tests.samples import sample
from tests.services import warm
from tests.services.ports import free_port
from tests.services.processes import PATIENCE, stop, until
from thalweg.memory.snapshots.state import State  # noqa: F401 - so that a broken tree fails here, not in the processes
from thalweg.ops.cli.produce import messages
from thalweg.ops.config.config import load
from thalweg.ops.run.app import open_configured_log
from thalweg.stream.log.log import Message

MOST = 64 << 20
"""`requests_bytes`: what requests may hold together."""
BESIDES = 96 << 20
"""What the process may take beside it: threads, arenas of the allocator, and a piece that is computed."""
TOML = f"""
[service]
grpc = "127.0.0.1:{{grpc}}"
http = "127.0.0.1:{{http}}"
state_dir = "{{folder}}/state"
requests_bytes = {MOST}
[log]
url = "sqlite:{{folder}}/log.db"
[store]
url = "sqlite:{{folder}}/store.db"
"""
ONE = 'learner = "ridge"\ninputs.features = { shape = [1], dtype = "float32" }\n'
COLUMNS = 'learner = "ridge"\n[model.columns]\namount = "numeric"\n'
MODELS = {
    "one": ONE,
    "late": 'labels_topic = "late.labels"\n' + ONE,
    "classes": ONE,
    "columns": COLUMNS + 'country = "categorical"\nnote = "text"\n',
    "columns_only": COLUMNS,
    "memory": sample("error_memory").configuration,
    "sequences": sample("prompt_tpp").configuration,
}
CLASSES = 900


class Server:
    """A service of its own processes, with a model of each kind."""

    def __init__(self, folder: Path) -> None:
        self.ports = {"grpc": free_port(), "http": free_port()}
        models = "".join(
            f'[[model]]\nname = "{name}"\ntopic = "{name}.events"\n{more}' for name, more in MODELS.items()
        )
        path = folder / "thalweg.toml"
        path.write_text(TOML.format(folder=folder, **self.ports) + models)
        config = load(path, {})
        log = open_configured_log(config)
        for name in ("one", "late", "classes", "columns", "columns_only"):
            log.append(f"{name}.events", [Message(json.dumps(one).encode()) for one in events(name)])
        for name, learner in (("memory", "error_memory"), ("sequences", "prompt_tpp")):
            log.append(f"{name}.events", messages(sample(learner).events(300), 1))
        log.close()
        self.output = (folder / "output").open("ab")
        self.process = warm.start_cold("serve", str(path), stdout=self.output, stderr=self.output)
        self.told = folder / "state" / "live" / "supervisor.json"
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.ports['http']}", timeout=PATIENCE)

    def ready(self) -> bool:
        try:
            return self.http.get("/readyz").status_code == 200 and all(
                self.http.get(f"/v1/models/{name}").json()["ready"] for name in MODELS
            )
        except httpx.HTTPError:
            return False

    def metric(self, label: str) -> float:
        for line in self.http.get("/metrics").text.splitlines():
            if line.startswith("thalweg_interface_load{") and f'"{label}"' in line:
                return float(line.rpartition(" ")[2])
        raise LookupError(label)

    @property
    def pid(self) -> int:
        return int(json.loads(self.told.read_text())["roles"]["server"]["pid"])

    def held(self, what: str) -> int:
        """Bytes: `VmRSS` now, or `VmHWM` at most since `forget`."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(what + ":"):
                return int(line.split()[1]) << 10
        raise LookupError(what)

    def forget(self) -> int:
        """Begin to look for the most that is held; what is held now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        return self.held("VmRSS")

    def ask(self, asked: Asked) -> str:
        """The answer's status."""
        if asked.where.startswith("/"):
            answer = self.http.post(asked.where, content=asked.body, headers=dict(asked.headers))
            return f"{answer.status_code} {answer.text[:300]}"
        sizes = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(f"127.0.0.1:{self.ports['grpc']}", sizes) as channel:
            call = channel.stream_stream("/" + asked.where)
            try:
                answers = list(call(iter([asked.body] * asked.times), timeout=PATIENCE))
            except grpc.RpcError as error:
                return f"{error.code().name} {error.details()}"  # type: ignore[attr-defined]
            return f"OK {answers[-1][:200]!r}"

    def close(self) -> None:
        self.http.close()
        stop(self.process)
        self.output.close()


def events(name: str) -> list[dict[str, object]]:
    if name.startswith("columns"):
        rows = [{"amount": float(one % 7), "country": f"c{one % 5}", "note": f"a{one % 3} b"} for one in range(300)]
        keys = ["amount"] if name == "columns_only" else ["amount", "country", "note"]
        return [{**{key: row[key] for key in keys}, "label": "ab"[place % 2]} for place, row in enumerate(rows)]
    labels = CLASSES if name == "classes" else 2
    return [
        {"id": f"e{one}", "inputs": {"features": [one / 100]}, "label": f"class {one % labels}"}
        for one in range(max(200, labels))
    ]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("memory"))
    try:
        until("every model to answer", made.ready)
        yield made
    finally:
        made.close()


LARGE = 1_000_000
"""The size of requests with which each kind begins."""
HALVINGS = 12
REFUSED = ("413", "429", "RESOURCE_EXHAUSTED")


def allowed(asked: Asked) -> int:
    """What a server may take for a request that it gets as it is: twice its bytes, in the interface and for us; of a
    stream, for the message that comes, the one that waits and the one at work.
    """
    return MOST + BESIDES + 2 * len(asked.body) * min(3, asked.times)


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_of_any_form_takes_what_requests_may_hold_at_most(server: Server, kind: str) -> None:
    """From one that is refused down to the largest that is answered, which takes nearly all that is allowed."""
    pid, size = server.pid, LARGE
    for _ in range(HALVINGS):
        asked = KINDS[kind](size)
        before = server.forget()
        status = server.ask(asked)

        grew = server.held("VmHWM") - before
        assert grew <= allowed(asked), (size, len(asked.body), status)
        assert not status.startswith(("500", "INTERNAL", "UNKNOWN", "UNAVAILABLE")), status
        assert server.pid == pid
        if not status.startswith(REFUSED):
            break
        assert "service.requests_bytes" in status or "service.max_message_bytes" in status or "at most" in status
        size //= 2
    print(f"{kind}: {size} {len(asked.body) / 1e6:.1f} MB, + {grew / 1e6:.0f} MB, {status:.150}")
    until("all to be given back", lambda: not server.metric("request_bytes"))


def test_several_at_once_share_what_requests_may_hold(server: Server) -> None:
    names = ["rows of one number, raw", "rows as lists", "short texts, typed", "many classes, raw"]
    asked = [KINDS[name](LARGE // 16) for name in names for _ in range(6)]
    answers: list[str] = []
    before = server.forget()

    threads = [threading.Thread(target=lambda one=one: answers.append(server.ask(one))) for one in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    grew = server.held("VmHWM") - before
    assert len(answers) == len(asked)
    assert grew <= MOST + BESIDES + 2 * sum(len(one.body) for one in asked), answers
    assert server.ask(KINDS["events"](LARGE)).startswith("200")
