"""Routes of the description: `/openapi.json` and `/docs`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from thalweg.ops.serve.http_api.openapi.document import document_of
from thalweg.ops.serve.http_api.openapi.page import page_of
from thalweg.ops.serve.models import Models

_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class DescriptionRoutes:
    """The routes; made anew for each request, because outputs are known from the first version on."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def routes(self) -> list[Route]:
        """All of them."""
        return [Route("/openapi.json", self._document), Route("/docs", self._page)]

    async def _document(self, request: Request) -> Response:
        return JSONResponse(document_of(self._models))

    async def _page(self, request: Request) -> Response:
        address = f"{request.url.scheme}://{request.url.netloc}"
        return HTMLResponse(page_of(document_of(self._models), address), headers=_HEADERS)
