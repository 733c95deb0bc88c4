"""Proxies that the environment names: never for this machine itself, and told where a call through one fails."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

_HERE = ("localhost", "127.0.0.1", "::1", "[::1]")
_NAMES = ("no_proxy", "NO_PROXY")


def reach_this_machine_directly() -> None:
    """Add this machine to `no_proxy`, so that every client of this process and of those it starts obeys.

    A proxy elsewhere cannot reach what listens on our loopback interface, and many set proxies without that exception.
    Clients differ in which spelling they read: gRPC and libraries of Python `no_proxy`, others `NO_PROXY` first.
    """
    if not any(name.lower().endswith("_proxy") and name.lower() != "no_proxy" for name in os.environ):
        return
    known = [one.strip() for name in _NAMES for one in os.environ.get(name, "").split(",") if one.strip()]
    for name in _NAMES:
        os.environ[name] = ",".join(dict.fromkeys((*known, *_HERE)))


def proxy_to(address: str) -> str:
    """The proxy by which a URL, or `HOST:PORT` of gRPC, is reached; empty where it is reached directly."""
    from urllib.request import getproxies_environment, proxy_bypass  # slow to import, and seldom needed

    parts = urlsplit(address if "://" in address else f"grpc://{address}")
    proxies = getproxies_environment()
    if not parts.hostname or proxy_bypass(parts.hostname):
        return ""
    if parts.scheme == "grpc":
        return next((proxies[kind] for kind in ("grpc", "https", "http") if proxies.get(kind)), "")
    return proxies.get(parts.scheme, "")


def by_proxy(address: str) -> str:
    """What an error about an address adds: by which proxy it was called, without its password; empty without one."""
    proxy = proxy_to(address)
    if not proxy:
        return ""
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    host = urlsplit(address if "://" in address else f"grpc://{address}").hostname
    return f" (through the proxy {parts.netloc.rpartition('@')[2]}; no_proxy={host} would call it directly)"
