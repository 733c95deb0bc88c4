"""Hosts and origins of HTTP requests: what a web page in somebody's browser must not do in that person's name.

A browser sends requests of any page to any address, this machine's included, and says in `Origin` which page it was. A
page whose name was pointed to this machine meanwhile (DNS rebinding) is of the same origin to the browser; only `Host`
tells it apart.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

_SCHEMES = ("http://", "https://")


class Origins:
    """Judges requests by the headers that a browser sends and a page cannot choose.

    Args:
        hosts: Names under which the service is reached, without port; with some given, no other name is answered.
        origins: Origins, `https://HOST[:PORT]`, whose pages count as the service's own.
    """

    def __init__(self, hosts: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        self._hosts = {host.lower() for host in hosts}
        self._origins = {origin.lower().rstrip("/") for origin in origins}

    def wrong_host(self, headers: Mapping[str, str], arrived_at: str | None) -> str:
        """The host that a request names, if it is none of this service; else empty.

        A literal address is always right, because nobody can point it elsewhere. Names are right if they are
        configured; if none are, all are, but those of requests that arrive on the loopback interface: there only
        `localhost` is, and names without a dot, which no stranger can register.

        Args:
            headers: By lower-case name.
            arrived_at: The address of ours that the request came to; None: not known.
        """
        host = _name(headers.get("host", ""))
        if not host or host in self._hosts or _is_address(host):
            return ""
        if host == "localhost" or host.endswith(".localhost"):
            return ""
        if self._hosts:
            return host
        return host if "." in host and is_loopback(arrived_at) else ""

    def is_page(self, headers: Mapping[str, str]) -> bool:
        """Whether a web page makes the request: browsers say so, programs do not."""
        return "origin" in headers or headers.get("sec-fetch-site", "none") != "none"

    def is_foreign_page(self, headers: Mapping[str, str]) -> bool:
        """Whether a page of another origin makes the request."""
        origin = headers.get("origin")
        if origin is None:
            return headers.get("sec-fetch-site") in ("cross-site", "same-site")
        origin = origin.lower()
        own = headers.get("host", "").lower()
        return origin not in self._origins and origin not in [scheme + own for scheme in _SCHEMES if own]


def is_loopback(address: str | None) -> bool:
    """Whether an IP address is of the loopback interface."""
    try:
        found = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


def _name(host: str) -> str:
    """A `Host` without its port and brackets."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and ":" in host else host.rstrip(".")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
