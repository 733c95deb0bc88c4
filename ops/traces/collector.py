"""How the collector is reached, as `OTEL_EXPORTER_OTLP_…` say.

The SDK takes wrong values in silence, so that they show, if at all, when the first spans are exported: here they are
told at the start. No value that may be secret is shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from thalweg.ops.traces.reasons import shown_url

log = structlog.get_logger(__name__)

_PREFIX = "OTEL_EXPORTER_OTLP_"
_SECONDS = 10.0
_COMPRESSIONS = ("none", "gzip", "deflate")
_FILES = ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE")
_RESOURCE = "OTEL_RESOURCE_ATTRIBUTES"


class CollectorUnknown(Exception):
    """The endpoint is no URL, or a file for its TLS cannot be read: nothing could be exported."""


def check_collector(environment: Mapping[str, str]) -> float:
    """Tell what is wrong, and used otherwise or left out.

    Returns:
        The timeout of an export, in seconds.

    Raises:
        CollectorUnknown: Nothing could be exported; the message names the variable, what was expected and what came.
    """
    name, endpoint = _given(environment, "ENDPOINT")
    if endpoint and (fault := _fault(endpoint)):
        raise CollectorUnknown(f"{name}: expected a URL such as http://collector:4318, {fault}")
    for file in _FILES:
        name, path = _given(environment, file)
        if path and not Path(path).exists():
            raise CollectorUnknown(f"{name}: expected a file, got {path!r:.200}, which is not there")
    name, compression = _given(environment, "COMPRESSION")
    if compression and compression.lower() not in _COMPRESSIONS:
        log.warning(
            f"{name}: expected one of {', '.join(_COMPRESSIONS)}, got {compression!r:.60}; none is used instead"
        )
    for name, place in _without_name(environment, _given(environment, "HEADERS")[0], _RESOURCE):
        log.warning(f"{name}: expected NAME=VALUE,NAME=VALUE, got no NAME= in part {place}, which is left out")
    return _timeout(environment)


def _given(environment: Mapping[str, str], what: str) -> tuple[str, str]:
    """The variable that counts, the one for traces before the one for all signals, and its value."""
    names = f"{_PREFIX}TRACES_{what}", f"{_PREFIX}{what}"
    name = next((name for name in names if environment.get(name)), names[1])
    return name, environment.get(name, "").strip()


def _fault(endpoint: str) -> str:
    """What is wrong with a URL; empty: nothing."""
    shown = f"got {shown_url(endpoint)!r:.200}"
    try:
        parts = urlsplit(endpoint)
        _ = parts.port  # which raises for one that is no number, or out of range
    except ValueError as error:
        return f"{shown}: {str(error)[:1].lower()}{str(error)[1:]}"
    if parts.scheme not in ("http", "https") or "://" not in endpoint:
        return f"{shown}, which does not begin with http:// or https://"
    return "" if parts.hostname else f"{shown}, which names no host"


def _timeout(environment: Mapping[str, str]) -> float:
    name, given = _given(environment, "TIMEOUT")
    if not given:
        return _SECONDS
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 86_400:
        log.warning(f"{name}: expected seconds above 0, a day at most, got {given!r:.60}; {_SECONDS:g} is used instead")
        return _SECONDS
    return seconds


def _without_name(environment: Mapping[str, str], *names: str) -> Iterator[tuple[str, int]]:
    """The variables with lists of pairs of which a part is none, and its place, from 1."""
    for name in names:
        for place, part in enumerate(environment.get(name, "").split(","), 1):
            if part.strip() and not part.partition("=")[1]:
                yield name, place
