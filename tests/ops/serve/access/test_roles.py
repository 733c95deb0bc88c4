"""The table of roles, call by call over real sockets: what is served stands in it, and it is what holds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from starlette.routing import Route

from tests.ops.serve.serving import RunningServer, served
from tests.services.processes import PATIENCE
from thalweg.ops.serve.access.access import Access
from thalweg.ops.serve.access.roles import ROLES, TABLE, NoRow, Row, as_markdown
from thalweg.ops.serve.access.tokens import Tokens
from thalweg.ops.serve.bounds.admission import Admission
from thalweg.ops.serve.grpc_api import inference, learning
from thalweg.ops.serve.grpc_api.gates import Gates
from thalweg.ops.serve.grpc_api.methods import Method, handlers
from thalweg.ops.serve.http_api.guarded import guarded
from thalweg.ops.serve.telemetry import NoTelemetry

DOCS = Path(__file__).parents[4] / "docs"
HTTP = [row for row in TABLE.values() if " " in row.call]
GRPC = [row for row in TABLE.values() if " " not in row.call]
TOKENS = {role: f"the-token-of-{role}" for role in ROLES} | {
    "all": "the-token-of-everything",
    "other": "the-token-of-another-model",
    "none": "a-token-that-nobody-has",
}
FILE = "\n".join(
    [
        *(f"{TOKENS[role]} roles={role} name={role}" for role in ROLES),
        f"{TOKENS['all']} roles={','.join(ROLES)} name=all",
        f"{TOKENS['other']} roles={','.join(ROLES)} models=other name=other",
    ]
)
REFUSED = {grpc.StatusCode.UNAUTHENTICATED: 401, grpc.StatusCode.PERMISSION_DENIED: 403}
LET_IN = ("INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION")
NOT_YET = [f"{learning.SERVICE}/Forget"]
REQUESTS: dict[str, Any] = {method.name: method.request for method in (*inference.METHODS, *learning.METHODS)} | {
    "Check": health_pb2.HealthCheckRequest,
    "ServerReflectionInfo": reflection_pb2.ServerReflectionRequest,
}


class Obliging:
    """Answers whatever is asked of the learner of `m`."""

    def __init__(self, parts: RunningServer) -> None:
        self._store, self._ended = parts.store, threading.Event()
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()

    def _answer(self) -> None:
        while not self._ended.wait(0.005):
            for command in self._store.poll("m"):
                self._store.respond(command.id, {"version": 1})

    def close(self) -> None:
        self._ended.set()
        self._thread.join()


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Served with a token for each role."""
    folder = tmp_path_factory.mktemp("locked")
    (folder / "tokens").write_text(FILE)
    with served(folder, labels_topic="m.labels", tokens=Tokens(folder / "tokens")) as parts:
        obliging = Obliging(parts)
        yield parts
        obliging.close()


@pytest.fixture(scope="module")
def wire(locked: RunningServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{locked.server.grpc_port}") as channel:
        yield channel


@pytest.fixture(scope="module")
def client(locked: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{locked.server.http_port}", timeout=PATIENCE) as made:
        yield made


def metadata(token: str | None) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")] if token else []


def over_grpc(wire: grpc.Channel, row: Row, token: str | None, model: str = "m") -> int:
    """401, 403, or 200 for every other outcome that shows that the call was let in."""
    kind = REQUESTS.get(row.call.rpartition("/")[2])
    request = b"" if kind is None else kind(**({row.model: model} if row.model not in ("", "*", "any") else {}))
    if row.model == "*":
        field = "model" if kind is not None and row.call.endswith("/Learn") else "model_name"
        request = (kind or inference.pb.ModelInferRequest)(**{field: model})
    content = request if isinstance(request, bytes) else request.SerializeToString()
    call = wire.stream_stream(f"/{row.call}")(iter([content]), metadata=metadata(token), timeout=PATIENCE)
    try:
        for answer in call:
            call.cancel()
            text = answer.decode("utf-8", "replace")  # each message of these streams has an answer of its own
            return 403 if "takes the role" in text else 200
    except grpc.RpcError as error:
        code = error.code()  # type: ignore[attr-defined]
        if code not in REFUSED and code.name not in (*LET_IN, *(["UNIMPLEMENTED"] if row.call in NOT_YET else [])):
            raise
        return REFUSED.get(code, 200)
    return 200


def over_http(client: httpx.Client, row: Row, token: str | None, model: str = "m") -> int:
    method, path = row.call.split(" ")
    path = path.replace("{name:path}", "main.js").replace("{name}", model).replace("{version}", "1")
    content = b"{}" if method == "POST" else None
    answer = client.request(method, path, content=content, headers=dict(metadata(token)))
    found = answer.status_code not in (404, 405) or "no alias is called" in answer.text  # there is none to find
    assert model != "m" or found, f"{row.call} is not served"
    assert answer.status_code != 401 or answer.headers["www-authenticate"] == "Bearer"
    return answer.status_code if answer.status_code in (401, 403) else 200


def expected(row: Row, who: str) -> int:
    if row.role is None or who in (row.role, "all"):
        return 200
    if who == "other":
        return 200 if row.model == "any" else 403  # every other call is about model m, or about all models
    return 403 if who in ROLES else 401


@pytest.mark.parametrize("row", GRPC, ids=lambda row: row.call)
def test_each_method_lets_in_who_has_its_role_and_nobody_else(wire: grpc.Channel, row: Row) -> None:
    found = {who: over_grpc(wire, row, token) for who, token in TOKENS.items()} | {"nobody": over_grpc(wire, row, None)}

    assert found == {who: expected(row, who) for who in found}


@pytest.mark.parametrize("row", HTTP, ids=lambda row: row.call)
def test_each_route_lets_in_who_has_its_role_and_nobody_else(client: httpx.Client, row: Row) -> None:
    found = {who: over_http(client, row, token) for who, token in TOKENS.items()} | {
        "nobody": over_http(client, row, None)
    }

    assert found == {who: expected(row, who) for who in found}


@pytest.mark.parametrize("row", TABLE.values(), ids=lambda row: row.call)
def test_a_token_for_some_models_is_good_for_those(wire: grpc.Channel, client: httpx.Client, row: Row) -> None:
    asked = (
        over_http(client, row, TOKENS["other"], "other")
        if row in HTTP
        else over_grpc(wire, row, TOKENS["other"], "other")
    )

    assert asked == (200 if row.role is None or row.model else 403)  # model `other` is unknown, which is another matter


def test_a_method_without_a_row_is_not_served() -> None:
    gates = Gates(Admission("predictions", 1, 1))
    new = Method("Erase", None, None)

    with pytest.raises(NoRow, match=r"thalweg\.v1\.LearningService/Erase: no row in the table of roles"):
        handlers(learning.SERVICE, object(), [new], NoTelemetry(), gates, Access())


def test_a_route_without_a_row_is_not_served() -> None:
    async def endpoint(request: Any) -> Any: ...

    with pytest.raises(NoRow, match=r"PUT /v1/models/\{name\}: no row"):
        guarded([Route("/v1/models/{name}", endpoint, methods=["GET", "PUT"])], Access())


def test_every_row_of_grpc_is_a_method_that_is_served() -> None:
    """The routes of HTTP are asked for above: one that is not served is not found."""
    served_methods = {f"{inference.SERVICE}/{method.name}" for method in inference.METHODS}
    served_methods |= {f"{learning.SERVICE}/{method.name}" for method in learning.METHODS}
    of_others = {row.call for row in GRPC if row.call.startswith("grpc.")}

    assert {row.call for row in GRPC} == served_methods | of_others


def test_the_table_of_the_documentation_is_the_table() -> None:
    assert as_markdown() in (DOCS / "security.md").read_text()
