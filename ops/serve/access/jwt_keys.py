"""The keys with which an issuer signs its tokens: fetched in the background, again and again, as they are rotated."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog

from thalweg.memory.audit import Actor, AuditLog, Outcome
from thalweg.memory.proxies import by_proxy
from thalweg.memory.trust import client_context
from thalweg.stream.health.registry import Health, HealthRegistry
from thalweg.stream.health.supervised import SupervisedThread

log = structlog.get_logger(__name__)

_FILE_SECONDS = 1.0
_URL_SECONDS = 300.0
_SOON_SECONDS = 5.0  # between two fetches that tokens of unknown keys ask for
_FETCH_SECONDS = 5.0
_MOST_BYTES = 1 << 20
_SILENT_SECONDS = 2 * _URL_SECONDS
_DISCOVERY = "/.well-known/openid-configuration"


class KeysUnusable(ValueError):
    """Keys cannot be fetched or are none; the message says why."""


class KeySet:
    """The newest keys of an issuer, each as in its JSON Web Key. Thread-safe.

    Args:
        source: A file, an `https://` URL of a key set, or empty: the issuer's discovery document tells.
        issuer: The issuer's URL.
        registry: Where it reports its health, as `jwt_keys`.
        soon_seconds: Shortest time between two fetches.
        audit: Where a change of the keys is recorded, and that they cannot be fetched any more; None: nowhere.
    """

    def __init__(
        self,
        source: str,
        issuer: str,
        registry: HealthRegistry | None = None,
        soon_seconds: float = _SOON_SECONDS,
        audit: AuditLog | None = None,
    ) -> None:
        self._source, self._issuer, self._soon = source, issuer, soon_seconds
        self._is_file = bool(source) and not urlsplit(source).scheme
        self._every = _FILE_SECONDS if self._is_file else _URL_SECONDS
        self._health: Health = (registry or HealthRegistry()).register("jwt_keys", silent_seconds=_SILENT_SECONDS)
        self._audit, self._failing = audit, False
        self._keys: tuple[Mapping[str, Any], ...] = ()
        self._why = "they have not been fetched yet"
        self._wanted, self._stopping = threading.Event(), threading.Event()
        self._thread = SupervisedThread(self._keep, self._health, "jwt-keys")

    @property
    def keys(self) -> tuple[Mapping[str, Any], ...]:
        """The newest keys; another object after each change."""
        return self._keys

    @property
    def why_none(self) -> str:
        """Why there are none, if there are none."""
        return self._why

    def want(self) -> None:
        """Fetch them again soon: a token came whose key is none of them. Returns at once."""
        self._wanted.set()

    def start(self) -> None:
        """Start fetching."""
        self._thread.start()

    def close(self) -> None:
        """Stop fetching."""
        self._stopping.set()
        self._wanted.set()
        self._thread.stop()
        self._thread.join(_FETCH_SECONDS)

    def refresh(self) -> None:
        """Fetch them now; the ones before stay if that fails."""
        try:
            found = read_keys(self._source, self._issuer)
        except KeysUnusable as error:
            self._why = str(error)
            if not self._failing:  # told once, however often it is tried
                self._record("failed", str(error))
            self._failing = True
            if self._keys:
                self._health.degraded(f"cannot fetch the keys of JWTs; the previous ones stay valid: {error}")
            else:
                self._health.waiting(f"cannot fetch the keys of JWTs: {error}")  # a restart would not help
            return
        if found != self._keys:
            names = [str(key.get("kid", "")) for key in found]
            log.info("fetched the keys of JWTs", keys=names)
            if self._keys:  # the first ones are those that the service starts with
                self._record("done", f"keys {', '.join(names)}")
            self._keys = found
        self._failing = False
        self._health.running()

    def _record(self, outcome: Outcome, detail: str) -> None:
        if self._audit is not None:
            by = Actor("a change of the file" if self._is_file else "the issuer", "service")
            self._audit.record("reload_jwt_keys", by, outcome, subject=self._source or self._issuer, detail=detail)

    def _keep(self) -> None:
        while not self._stopping.is_set():
            self.refresh()
            self._health.beat()
            if self._stopping.wait(min(self._soon, self._every)):
                return
            self._wanted.wait(max(0.0, self._every - self._soon))
            self._wanted.clear()


def read_keys(source: str, issuer: str) -> tuple[Mapping[str, Any], ...]:
    """The keys of a file, of a URL, or of an issuer. Raises KeysUnusable."""
    if source and not urlsplit(source).scheme:
        try:
            content = Path(source).read_bytes()
        except OSError as error:
            raise KeysUnusable(f"{source} cannot be read: {error.strerror or error}") from error
        return _keys_in(content, source)
    if not source:
        discovery = issuer.rstrip("/") + _DISCOVERY
        found = _json(_fetched(discovery), discovery)
        source = found.get("jwks_uri", "")
        if not isinstance(source, str) or not source:
            raise KeysUnusable(f"{discovery}: expected jwks_uri, got none")
    return _keys_in(_fetched(source), source)


def is_trusted(url: str) -> bool:
    """Whether nobody between it and us can change what a URL gives: it is https, or of this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1"))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _fetched(url: str) -> bytes:
    if not is_trusted(url):
        raise KeysUnusable(f"{url}: expected https")
    opener: Callable[..., Any] = urllib.request.build_opener(
        _NoRedirect, urllib.request.HTTPSHandler(context=client_context())
    ).open
    try:
        with opener(url, timeout=_FETCH_SECONDS) as answer:
            content = bytes(answer.read(_MOST_BYTES + 1))
    except urllib.error.HTTPError as error:
        raise KeysUnusable(f"{url}: {error.code} {error.reason}") from error
    except (OSError, ValueError) as error:
        raise KeysUnusable(f"{url}: {getattr(error, 'reason', error)}{by_proxy(url)}") from error
    if len(content) > _MOST_BYTES:
        raise KeysUnusable(f"{url}: expected at most {_MOST_BYTES} bytes")
    return content


def _json(content: bytes, where: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise KeysUnusable(f"{where}: expected JSON: {error}") from error
    if not isinstance(found, dict):
        raise KeysUnusable(f"{where}: expected an object, got {type(found).__name__}")
    return found


def _keys_in(content: bytes, where: str) -> tuple[Mapping[str, Any], ...]:
    keys = _json(content, where).get("keys")
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise KeysUnusable(f'{where}: expected {{"keys": [...]}}, a JSON Web Key Set')
    public = [key for key in keys if key.get("kty") in ("RSA", "EC", "OKP") and key.get("use", "sig") == "sig"]
    if not public:
        raise KeysUnusable(f"{where}: expected public keys for signatures (RSA, EC, OKP), got none")
    return tuple(public)
