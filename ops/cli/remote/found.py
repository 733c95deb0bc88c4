"""What stands at an address that does not answer as it was called: for an error that says which option to give."""

from __future__ import annotations

import socket
import ssl
from typing import NamedTuple

from thalweg.memory.trust import client_context
from thalweg.ops.cli.remote.target import Target
from thalweg.proto.bounds.host_port import host_port

_SECONDS = 3.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""How a connection of HTTP/2, and so of gRPC, begins: the preface, and a frame of settings without any."""
_SETTINGS, _ALERT, _HANDSHAKE = 4, 0x15, 0x16


class Found(NamedTuple):
    """What answers at an address."""

    what: str
    """`gRPC`, `HTTP`, `something that is neither gRPC nor HTTP`, or empty if nothing does."""
    secure: bool = False
    """Whether it speaks TLS."""
    trouble: str = ""
    """Why nothing answers, or why its certificate or ours is of no use."""


def found_at(target: Target) -> Found:
    """Look what stands there; the connections are closed at once."""
    try:
        where = host_port(target.address)
    except ValueError as error:
        return Found("", trouble=str(error).partition(", got ")[0])
    try:
        with socket.create_connection(where, _SECONDS) as plain:
            plain.settimeout(_SECONDS)
            answer = _asked(plain)
    except OSError as error:
        return Found("", trouble=f"nothing answers there: {error.strerror or error}")
    if answer[:5] == b"HTTP/":
        return Found("HTTP")
    if len(answer) > 3 and answer[3] == _SETTINGS and answer[0] not in (_ALERT, _HANDSHAKE):
        return Found("gRPC")
    return _secured(target, where) or Found("something that is neither gRPC nor HTTP")


def problem_with(target: Target) -> str:
    """Why a target does not answer, and which option would help; empty if that cannot be said."""
    found = found_at(target)
    address = target.address
    if not found.what:
        hint = "" if found.trouble.startswith("expected") else "; is the service running, and is that its address?"
        return f"{address}: {found.trouble}{hint}"
    if found.secure and not target.secure:
        also = f"; {found.trouble}" if found.trouble else ""
        return (
            f"{address}: found {found.what} with TLS, but the call came without TLS: give --target "
            f"https://{address}, and --ca FILE if its certificate is not of a known authority{also}"
        )
    if target.secure and not found.secure and found.what in ("gRPC", "HTTP"):
        also = " without --ca, --certificate and --key" if target.ca or target.certificate else ""
        return f"{address}: found {found.what} without TLS, but the call came with TLS: give --target http://{address}{also}"
    if found.trouble:
        return f"{address}: {found.trouble}"
    if found.what == "HTTP":  # it was called so, too, and has given no answer that is ours
        return f"{address}: found HTTP that is no Thalweg, or the address of another service"
    return "" if found.what == "gRPC" else f"{address}: found {found.what}"


def _asked(connection: socket.socket) -> bytes:
    """The first bytes of an answer to the preface of HTTP/2; empty if there is none."""
    try:
        connection.sendall(_PREFACE)
        return connection.recv(64)
    except OSError:  # it hangs up on what it does not understand
        return b""


def _secured(target: Target, where: tuple[str, int]) -> Found | None:
    """What speaks TLS there; None if nothing does."""
    context = client_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        with socket.create_connection(where, _SECONDS) as plain:
            plain.settimeout(_SECONDS)
            with context.wrap_socket(plain, server_hostname=where[0]) as connection:
                what = "gRPC" if connection.selected_alpn_protocol() == "h2" else "HTTP"
                return Found(what, True, _distrust(target, where) or _asks_for_ours(target, connection))
    except ssl.SSLError as error:
        if error.reason in ("WRONG_VERSION_NUMBER", "UNEXPECTED_EOF_WHILE_READING", None):
            return None
        return Found("a service", True, f"TLS fails: {error.reason.lower().replace('_', ' ')}")
    except OSError:
        return None


def _distrust(target: Target, where: tuple[str, int]) -> str:
    """Why its certificate is not trusted; empty if it is, or is not to be checked."""
    if not target.secure:
        return ""
    try:
        context = client_context(target.ca)
        if target.certificate is not None:
            context.load_cert_chain(target.certificate, target.key)
    except OSError as error:
        return f"--ca, --certificate or --key cannot be used: {error}"
    try:
        with (
            socket.create_connection(where, _SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=where[0]) as connection,
        ):
            return _asks_for_ours(target, connection)
    except ssl.SSLCertVerificationError as error:
        hint = "" if target.ca else ": give --ca FILE with the roots to trust"
        return f"its certificate is not trusted, {error.verify_message}{hint}"
    except OSError as error:
        return f"TLS fails: {error}"


def _asks_for_ours(target: Target, connection: ssl.SSLSocket) -> str:
    """Whether it wants a certificate of ours, and got none: in TLS 1.3 it hangs up after the handshake then."""
    connection.settimeout(_SECONDS)
    if target.certificate is not None or _asked(connection):
        return ""
    return "it hangs up without a certificate of yours: give --certificate FILE and --key FILE"
