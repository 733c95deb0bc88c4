"""The live page at `/`, and the JSON behind it; who may read it and act is in the table of roles."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from thalweg.memory.exchange.commands import CommandQueue
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.software import version_of
from thalweg.ops.serve.commands import command
from thalweg.ops.serve.errors import QueueFull, TooLarge
from thalweg.ops.serve.models import Models, ServedModel
from thalweg.ops.serve.readiness import ServiceHealth
from thalweg.ops.serve.telemetry import NoTelemetry, ServingFigures
from thalweg.ops.telemetry.status import Statuses
from thalweg.ops.webpage.dead_letters import MOST, grouped, newest
from thalweg.ops.webpage.figures import details, summary
from thalweg.ops.webpage.files import HEADERS, PageFiles
from thalweg.proto.json_text import NotUtf8, NumberTooLong, json_of
from thalweg.proto.schema import InputError
from thalweg.stream.log.log import Log

_LARGEST_BODY = 4096
_AT_ONCE = 4  # actions and reads of dead letters: each holds a thread that predictions use, too
_LETTERS = 20


class PageApi:
    """Routes of the page; each translates and nothing else.

    Args:
        models: What is served.
        source: The log, where dead letters are.
        commands: Where learners take commands.
        statuses: What learners report; None: nothing.
        figures: What the server counts.
        read_only: Why nobody may act on the page; empty: who has the role may.
        answer_seconds: How long a learner may take over a command.
        clock: Unix seconds.
        health: The health of all parts; None: of none.
    """

    def __init__(
        self,
        models: Models,
        source: Log,
        commands: CommandQueue,
        statuses: Statuses | None = None,
        figures: ServingFigures | None = None,
        read_only: str = "",
        answer_seconds: float = 30.0,
        clock: Callable[[], float] = time.time,
        health: ServiceHealth | None = None,
    ) -> None:
        self._health = health or ServiceHealth(models)
        self._models = models
        self._log = source
        self._commands = commands
        self._statuses = statuses
        self._figures = figures or NoTelemetry()
        self._read_only = read_only
        self._answer_seconds = answer_seconds
        self._clock = clock
        self._files = PageFiles()
        self._slots = threading.BoundedSemaphore(_AT_ONCE)
        self._manifests: dict[str, tuple[int, Sequence[Manifest]]] = {}

    def routes(self) -> list[Route]:
        """All but `/`."""
        return [
            Route("/page/{name:path}", self._file),
            Route("/api/models", self._list),
            Route("/api/models/{name}", self._model),
            Route("/api/models/{name}/dead_letters", self._dead_letters),
            Route("/api/models/{name}/snapshot", self._snapshot, methods=["POST"]),
            Route("/api/models/{name}/rollback", self._rollback, methods=["POST"]),
        ]

    def page(self, request: Request) -> Response | None:
        """The page, for who asks for one; None for programs, which do not ask for HTML."""
        return self._files.answer("index.html", request) if "text/html" in request.headers.get("accept", "") else None

    async def _file(self, request: Request) -> Response:
        return self._files.answer(request.path_params["name"], request)

    async def _list(self, request: Request) -> Response:
        return _answer(await run_in_threadpool(self._all))

    async def _model(self, request: Request) -> Response:
        return _answer(await run_in_threadpool(self._details, self._models.find(request.path_params["name"]).answering))

    async def _dead_letters(self, request: Request) -> Response:
        model = self._models.find(request.path_params["name"]).answering
        count = _count(request.query_params.get("limit", str(_LETTERS)))
        topics = [topic for topic in (model.topic, model.labels_topic) if topic]
        with self._slot():
            letters = await run_in_threadpool(newest, self._log, topics, count)
            return _answer({"letters": letters, "reasons": grouped(letters)})

    async def _snapshot(self, request: Request) -> Response:
        return await self._act(request, "snapshot")

    async def _rollback(self, request: Request) -> Response:
        return await self._act(request, "rollback")

    async def _act(self, request: Request, verb: str) -> Response:
        model = self._models.find(request.path_params["name"]).answering
        arguments = {"version": _version(await _body(request))} if verb == "rollback" else {}

        def run() -> int:
            return command(self._commands, model, verb, self._answer_seconds, **arguments)

        with self._slot():
            return _answer({"version": await run_in_threadpool(run)})

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._slots.acquire(blocking=False):
            raise QueueFull(f"{_AT_ONCE} requests of this kind are already running; retry later")
        try:
            yield
        finally:
            self._slots.release()

    def _all(self) -> dict[str, Any]:
        now, parts = self._clock(), self._health.by_model()
        return {
            "time": now,
            "version": version_of("thalweg"),
            "draining": self._models.draining,
            "degraded": self._health.degraded(),
            "read_only": self._read_only or None,
            "processes": self._figures.processes(),
            "aliases": [alias.standing() for alias in self._models.aliases],
            "models": [
                summary(model, self._status(model), now, parts[model.name]) | {"champion_of": self._champion_of(model)}
                for model in self._models.all()
            ],
        }

    def _details(self, model: ServedModel) -> dict[str, Any]:
        latency, freshness = self._figures.latency(model.name), self._figures.freshness(model.name)
        parts, role = self._health.by_model()[model.name], self._health.learner_role(model.name)
        found = details(model, self._status(model), self._clock(), self._snapshots(model), latency, freshness, parts)
        return found | {"learner_role": role}

    def _champion_of(self, model: ServedModel) -> list[str]:
        """The aliases under which a model answers now."""
        return [alias.name for alias in self._models.aliases if alias.model.answering is model]

    def _status(self, model: ServedModel) -> dict[str, Any] | None:
        return self._statuses.of(model.name) if self._statuses is not None else None

    def _snapshots(self, model: ServedModel) -> Sequence[Manifest]:
        """Reads the folder again when it has changed: a snapshot is added and removed by a rename."""
        try:
            changed = model.versions.snapshots.folder.stat().st_mtime_ns
        except OSError:
            return []
        known = self._manifests.get(model.name)
        if known is None or known[0] != changed:
            known = self._manifests[model.name] = (changed, model.versions.snapshots.manifests())
        return known[1]


def _answer(content: Any) -> Response:
    """JSON; a number that is not finite is null."""
    headers = {**HEADERS, "cache-control": "no-store"}
    return Response(msgspec.json.encode(content), headers=headers, media_type="application/json")


async def _body(request: Request) -> Any:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _LARGEST_BODY:
            raise TooLarge(f"the request is larger than {_LARGEST_BODY} bytes")
    try:
        return json_of(body)
    except (NotUtf8, NumberTooLong) as error:
        raise InputError(str(error)) from error
    except ValueError as error:
        raise InputError(f"the request is not JSON: {error}") from error


def _version(body: Any) -> int:
    version = body.get("version") if isinstance(body, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or not 0 <= version < 2**63:
        raise InputError('the request: expected {"version": N}, the version of a snapshot')
    return version


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= MOST):
        raise InputError(f"limit: expected a whole number from 1 to {MOST}, got {text[:20]!r}")
    return int(text)
