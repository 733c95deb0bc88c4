"""One HTTP call from its body to its answer: read under bounds, answered on a thread that holds a slot."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import Response

from thalweg.ops.serve.bounds.admission import Admission
from thalweg.ops.serve.bounds.byte_budget import HELD, ByteBudget, BytesOfRequest
from thalweg.ops.serve.errors import QueueFull, TooLarge, UnsupportedMedia, status_of
from thalweg.ops.serve.http_api.bodies import check_media, compressed, decoded, received

_MOST_THREADS = 512  # that wait for slots; beyond the queue's bound, so that refusals need not wait


@dataclass(frozen=True, slots=True)
class Call:
    """A request that has arrived."""

    model: str
    """As in the path."""
    version: str | None
    """As in the path; None: the path has none."""
    query: Sequence[tuple[str, str]]
    """Names and values after the `?`, in order."""
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytearray
    """Without its encoding."""
    read: Callable[[], None] = lambda: None
    """Called once the body is read, when what its JSON expanded to is no more."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back."""

    content: bytes
    rows: int = 0
    """Events in it, for the metrics."""
    media_type: str = "application/json"
    headers: Mapping[str, str] | None = None


Answering: TypeAlias = Callable[[Call], Answer]
Counting: TypeAlias = Callable[[str, str, float, int, float], None]
"""Called at the end of each call: model, name of the gRPC status, seconds, rows, seconds in the queue."""


class BoundedCalls:
    """Runs calls under bounds.

    Args:
        budget: Memory that all requests may hold.
        max_body_bytes: Larger bodies are refused, before and after their encoding is undone.
    """

    def __init__(self, budget: ByteBudget, max_body_bytes: int) -> None:
        self._budget, self._most = budget, max_body_bytes
        self._threads = CapacityLimiter(_MOST_THREADS)  # not those of health, metrics and the page

    async def run(self, request: Request, slots: Admission, answering: Answering, counting: Counting) -> Response:
        """Read the request, and answer it once it has a slot. Raises what `answering` raises, and refusals."""
        model, arrived = request.path_params["name"], time.perf_counter()
        with self._budget.share() as held:
            try:
                check_media(request.headers)
                if slots.overloaded():
                    raise slots.refusal()
                body = await received(request, held, self._most)
            except (QueueFull, TooLarge, UnsupportedMedia) as error:
                counting(model, status_of(error)[0].name, time.perf_counter() - arrived, 0, 0.0)
                raise
            arrived = time.perf_counter()
            work = partial(self._answer, request, body, held, slots, answering, counting, arrived)
            return await to_thread.run_sync(work, limiter=self._threads)

    def _answer(
        self,
        request: Request,
        body: bytearray,
        held: BytesOfRequest,
        slots: Admission,
        answering: Answering,
        counting: Counting,
        arrived: float,
    ) -> Response:
        path, headers = request.path_params, request.headers
        started, code, rows = time.perf_counter(), "OK", 0
        HELD.set(held)  # in the context of this call alone
        try:
            with slots.slot():
                started = time.perf_counter()
                body, expanded = decoded(headers, body, held, self._most)
                query = request.query_params.multi_items()
                answer = answering(
                    Call(path["name"], path.get("version"), query, headers, body, partial(held.add, -expanded))
                )
                rows = answer.rows
                content, more = compressed(headers, answer.content)
                return Response(content, 200, {**(answer.headers or {}), **more}, answer.media_type)
        except Exception as error:
            code = status_of(error)[0].name
            raise
        finally:
            counting(path["name"], code, time.perf_counter() - started, rows, started - arrived)
