"""Addresses of peers and of listeners, `HOST:PORT`, an IPv6 host in brackets."""

from __future__ import annotations

import ipaddress
import re

_NO_HOST = re.compile(r"[\s/@?#,;\\\"'<>(){}|^`\[\]\x00-\x20]")

_SIX = re.compile(r"\[?[0-9a-fA-F:.]+(%\w+)?\]?")
"""What may be meant as an IPv6 host."""


def host_port(text: str, default: int | None = None, least: int = 1) -> tuple[str, int]:
    """Split an address into host, without brackets, and port.

    Args:
        text: `HOST:PORT`.
        default: The port where none is given; None: it has to be given.
        least: The smallest port. A listener may leave it to the system, by 0.

    Raises:
        ValueError: The address is invalid; the message says what was expected and what came.
    """
    bare = default is not None and (":" not in text or text.endswith("]"))
    host, _, given = (text, "", str(default)) if bare else text.rpartition(":")
    if not host or not (given.isascii() and given.isdigit()):
        raise ValueError(f"expected HOST:PORT, got {text!r}")
    if not least <= int(given) <= 65535:
        raise ValueError(f"expected HOST:PORT with a port from {least} to 65535, got {text!r}")
    if host.startswith("[") or host.endswith("]") or ":" in host:
        return _inside(host, text), int(given)
    if _NO_HOST.search(host):
        raise ValueError(f"expected HOST:PORT, got {text!r}")
    return host, int(given)


def _inside(host: str, text: str) -> str:
    inside = host[1:-1]
    try:
        ipaddress.IPv6Address(inside)
    except ValueError:
        inside = ""
    if not _SIX.fullmatch(host):
        raise ValueError(f"expected HOST:PORT, got {text!r}")
    if not inside or host != f"[{inside}]":
        raise ValueError(f"expected HOST:PORT, an IPv6 host in brackets as in [::1]:8080, got {text!r}")
    return inside
