"""A small client of schema registries that speak Confluent's interface (Confluent, Apicurio, Karapace, Redpanda)."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import urllib.error
import urllib.request
from typing import Any, Protocol
from urllib.parse import quote

from thalweg.memory.proxies import by_proxy
from thalweg.memory.trust import client_context
from thalweg.proto.framing.framing import RegisteredSchema
from thalweg.stream.log.log import LogError, PermanentLogError

_SECONDS = 5.0
_MOST_BYTES = 4 << 20
_MOST_REFERENCES = 100


class Registry(Protocol):
    """Where schemas are registered."""

    def fetch(self, id: int) -> RegisteredSchema | None:
        """The schema with this id; None if there is none. Raises LogError while it does not answer."""


class RegistryClient:
    """Asks a registry over HTTP.

    Args:
        url: Where its interface begins, such as `http://host:8081`, or Apicurio's `http://host:8080/apis/ccompat/v7`.
        user: For basic authentication; empty: none.
        password: Likewise.
    """

    def __init__(self, url: str, user: str = "", password: str = "") -> None:
        self._url = url.rstrip("/")
        self._headers = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}
        if user:
            self._headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def fetch(self, id: int) -> RegisteredSchema | None:
        found = self._get(f"/schemas/ids/{id}")
        if found is None:
            return None
        references: dict[tuple[str, int], tuple[str, str]] = {}
        self._gather(found, references, frozenset())
        names, texts = [[one[part] for one in references.values()] for part in (0, 1)]
        form = str(found.get("schemaType") or "AVRO")
        return RegisteredSchema(form, found["schema"], tuple(texts), tuple(names) if form == "PROTOBUF" else ())

    def _gather(
        self, schema: dict[str, Any], found: dict[tuple[str, int], tuple[str, str]], within: frozenset[Any]
    ) -> None:
        """The texts of what a schema names, in the order in which they can be read.

        `within`: what led here; a schema that names itself, by others, cannot be read, and is found by its reader.
        """
        given = schema.get("references") or ()
        for one in given if isinstance(given, list | tuple) else (given,):
            try:
                place = (str(one["subject"]), int(one["version"]))
            except (TypeError, LookupError, ValueError):
                raise LogError(
                    f"{self._what()}: expected references with subject and version, got {one!r:.80}"
                ) from None
            if place in found or place in within or len(found) + len(within) >= _MOST_REFERENCES:
                continue
            named = self._get(f"/subjects/{quote(place[0], safe='')}/versions/{place[1]}?deleted=true")
            if named is None:
                raise LogError(f"{self._what()}: a schema names {place[0]} version {place[1]}, which is not there")
            self._gather(named, found, within | {place})
            found[place] = (str(one.get("name", "")), named["schema"])

    def _get(self, path: str) -> dict[str, Any] | None:
        request = urllib.request.Request(self._url + path, headers=self._headers)
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS, context=client_context()) as response:
                text = response.read(_MOST_BYTES + 1)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404 and _says_unknown(error.read(_MOST_BYTES)):
                    return None
                if error.code == 404:
                    raise LogError(
                        f"{self._what()}: no schema registry answers there; check log.registry.url"
                    ) from error
                kind = PermanentLogError if error.code in (401, 403) else LogError
                advice = "; check log.registry.user and password" if error.code in (401, 403) else ""
                raise kind(f"{self._what()}: it answers {error.code} {error.reason}{advice}") from error
        except OSError as error:  # not there, or not in time
            raise LogError(f"{self._what()} is out of reach: {self._why(error)}{by_proxy(self._url)}") from error
        try:
            found = json.loads(text) if len(text) <= _MOST_BYTES else None
        except ValueError:
            found = None
        if not isinstance(found, dict) or not isinstance(found.get("schema"), str):
            raise LogError(f"{self._what()}: no answer of a schema registry to {path}; check log.registry.url")
        return found

    def _why(self, error: OSError) -> str:
        """Why it does not answer, and what would help where its address begins with the other scheme."""
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted, {reason.verify_message}; SSL_CERT_FILE may name a file of its root"
        if isinstance(reason, ssl.SSLError):
            return f"no TLS answers there ({reason.reason}): http:// in log.registry.url?"
        hung_up = isinstance(reason, ConnectionResetError | http.client.RemoteDisconnected)
        return f"{reason}: https:// in log.registry.url?" if hung_up and self._url.startswith("http:") else str(reason)

    def _what(self) -> str:
        return f"the schema registry at {self._url}"


def _says_unknown(body: bytes) -> bool:
    """Whether a registry says that it has no such schema; any other server answers 404 to a path that it lacks."""
    try:
        found = json.loads(body)
    except ValueError:
        return False
    return isinstance(found, dict) and str(found.get("error_code", "")).startswith("404")
