"""Bearer tokens for calls that change a model, if the configuration requires them.

A file with one token per line; blank lines and lines that begin with `#` are ignored. It is read again when it
changes, so tokens are replaced without a restart.
"""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import structlog

from thalweg.ops.serve.errors import Forbidden, Unauthenticated

log = structlog.get_logger(__name__)

SHORTEST = 16
"""Shorter tokens could be guessed."""
_LOOK_SECONDS = 1.0


class TokensUnusable(ValueError):
    """The token file is not usable; the message says why, and never shows a token."""


class Tokens:
    """The tokens of a file. Thread-safe.

    Raises:
        TokensUnusable: The file cannot be read, has no token, or one that is too short.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._changed = self._modified()
        self._looked = time.monotonic()
        self._tokens = read_tokens(path)

    def allows(self, authorization: str | None) -> bool:
        """Whether a header `Authorization: Bearer TOKEN` carries one of them."""
        self._look()
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return False
        given = token.strip().encode()
        found = False
        for known in self._tokens:  # compares all of them, each in constant time: the duration reveals nothing
            found |= hmac.compare_digest(known, given)
        return found

    def _look(self) -> None:
        with self._lock:
            now = time.monotonic()
            if now - self._looked < _LOOK_SECONDS:
                return
            self._looked, changed = now, self._modified()
            if changed == self._changed:
                return
            self._changed = changed
            try:
                self._tokens = read_tokens(self._path)
            except TokensUnusable as error:
                log.error("cannot reload the tokens: the previous ones stay valid", problem=str(error))

    def _modified(self) -> int:
        try:
            return self._path.stat().st_mtime_ns
        except OSError:
            return 0


def check_writer(tokens: Tokens | None, headers: Mapping[str, str]) -> None:
    """Whether a caller over HTTP may append to the log.

    Without tokens every program may, but no page that is open in a browser: browsers name the page in `origin`, and any
    page could reach a service on the reader's own machine.

    Raises:
        Unauthenticated: A token is required, and there is none.
        Forbidden: A page asks, and no tokens are configured.
    """
    if tokens is None:
        if "origin" in headers:
            raise Forbidden("requests from web pages may append only with a token, and this service has no token_file")
    elif not tokens.allows(headers.get("authorization")):
        raise Unauthenticated("a token is required: send `Authorization: Bearer TOKEN`")


def read_tokens(path: Path) -> tuple[bytes, ...]:
    """The tokens of a file. Raises TokensUnusable."""
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise TokensUnusable(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    tokens = [line for line in lines if line and not line.startswith("#")]
    if not tokens:
        raise TokensUnusable(f"{path}: expected one token per line, got none")
    short = next((number for number, line in enumerate(lines, 1) if line in tokens and len(line) < SHORTEST), None)
    if short is not None:
        raise TokensUnusable(f"{path}, line {short}: expected a token of at least {SHORTEST} characters")
    return tuple(token.encode() for token in tokens)
