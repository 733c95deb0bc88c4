"""The page's static files, served as they are in the package: no build step, no other host."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

_FOLDER = Path(__file__).parent / "static"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    # scripts, styles and data from here alone; nothing inline, nothing framed, nothing sent elsewhere
    "content-security-policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    kind: str
    etag: str


class PageFiles:
    """Reads the files once; answers 304 to a browser that has the same version."""

    def __init__(self) -> None:
        self._files = {
            path.relative_to(_FOLDER).as_posix(): _File(content, _TYPES[path.suffix], _etag(content))
            for path in sorted(_FOLDER.rglob("*"))
            if path.suffix in _TYPES
            for content in [path.read_bytes()]
        }

    def answer(self, name: str, request: Request) -> Response:
        """The file of this name. Raises HTTPException for an unknown name."""
        file = self._files.get(name)
        if file is None:
            raise HTTPException(404, f"the page has no file {name!r:.200}")
        headers = {**HEADERS, "etag": file.etag, "cache-control": "no-cache", "vary": "accept"}
        if file.etag in [part.strip() for part in request.headers.get("if-none-match", "").split(",")]:
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers=headers, media_type=file.kind)


def _etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:20]}"'
