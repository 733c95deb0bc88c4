"""Routes of aliases: who answers under a name, how a comparison stands, and promotions."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from thalweg.ops.serve.access.callers import actor
from thalweg.ops.serve.aliases import Alias
from thalweg.ops.serve.champions.promoting import alias_of, promote
from thalweg.ops.serve.errors import TooLarge
from thalweg.ops.serve.models import Models
from thalweg.proto.json_text import NotUtf8, NumberTooLong, json_of
from thalweg.proto.schema import InputError

_LARGEST_BODY = 4096
_EXPECTED = 'the request: expected {"model": "NAME"} or {"back": true}, and "force": true where wanted'


class AliasRoutes:
    """The routes."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/v1/aliases", self._list),
            Route("/v1/aliases/{name}", self._one),
            Route("/v1/aliases/{name}/promote", self._promote, methods=["POST"]),
        ]

    async def _list(self, request: Request) -> Response:
        return _answer({"aliases": await run_in_threadpool(lambda: [one.standing() for one in self._models.aliases])})

    async def _one(self, request: Request) -> Response:
        return _answer(await run_in_threadpool(alias_of(self._models, request.path_params["name"]).standing))

    async def _promote(self, request: Request) -> Response:
        alias = alias_of(self._models, request.path_params["name"])
        body = await _body(request)
        model, back, force = body.get("model"), body.get("back", False), body.get("force", False)
        wrong = body.keys() - {"model", "back", "force"} or not isinstance(back, bool) or not isinstance(force, bool)
        if wrong or (not isinstance(model, str) if not back else model is not None):
            raise InputError(_EXPECTED)
        await run_in_threadpool(self._audited, alias, model, body)
        return _answer(await run_in_threadpool(alias.standing))

    def _audited(self, alias: Alias, model: str | None, asked: dict[str, Any]) -> None:
        """Promote, and record who did it and what came of it."""
        record = None if self._models.audit is None else partial(self._models.audit.record, "promote", actor())
        try:
            done = promote(self._models, alias, model, force=asked.get("force", False))
        except Exception as error:
            if record is not None:
                record("failed", subject=alias.name, arguments=asked, detail=str(error))
            raise
        if record is not None:
            record("done", subject=alias.name, arguments=asked, detail=f"promotion {done.number}")


async def _body(request: Request) -> dict[str, Any]:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _LARGEST_BODY:
            raise TooLarge(f"the request is larger than {_LARGEST_BODY} bytes")
    try:
        found = json_of(body)
    except (NotUtf8, NumberTooLong) as error:
        raise InputError(str(error)) from error
    except ValueError as error:
        raise InputError(f"the request is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise InputError(_EXPECTED)
    return found


def _answer(content: Any) -> Response:
    return Response(msgspec.json.encode(content), 200, {"cache-control": "no-store"}, "application/json")
