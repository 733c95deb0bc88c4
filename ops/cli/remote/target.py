"""The service that a command talks to: its address, our token, and whom we trust."""

from __future__ import annotations

import http.client
import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from thalweg.memory.trust import client_context
from thalweg.ops.run.failed import Failed

TOKEN = "THALWEG_TOKEN"
"""The environment variable with a token."""
_PLAIN = ("http://", "grpc://")
_SECURE = ("https://", "grpcs://")


@dataclass(frozen=True, slots=True)
class Target:
    """A service."""

    address: str
    """`HOST:PORT`."""
    token: str = field(default="", repr=False)
    """Empty: none."""
    secure: bool = False
    """Whether it speaks TLS."""
    ca: Path | None = None
    """Roots to trust; None: those of the system."""
    certificate: Path | None = None
    """Our own, for a service that asks for one."""
    key: Path | None = field(default=None, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """Headers of HTTP, and with the same names metadata of gRPC."""
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    def channel(self) -> grpc.Channel:
        """A channel of gRPC. Raises Failed if a file cannot be read."""
        if not self.secure:
            return grpc.insecure_channel(self.address)
        roots, key, certificate = (
            None if path is None else _read(path) for path in (self.ca or _system_roots(), self.key, self.certificate)
        )
        return grpc.secure_channel(self.address, grpc.ssl_channel_credentials(roots, key, certificate))

    def connection(self, seconds: float) -> http.client.HTTPConnection:
        """A connection of HTTP. Raises Failed if a file cannot be used."""
        if not self.secure:
            return http.client.HTTPConnection(self.address, timeout=seconds)
        try:
            context = client_context(self.ca)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except OSError as error:  # errors of TLS are such, too
            raise Failed(f"--ca, --certificate or --key cannot be used: {error}") from error
        return http.client.HTTPSConnection(self.address, timeout=seconds, context=context)


def target_of(
    given: str,
    token_file: Path | None = None,
    ca: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
) -> Target:
    """The target of a command's options and of the environment. Raises Failed if they do not go together."""
    secure = given.startswith(_SECURE) or ca is not None or certificate is not None
    if secure and given.startswith(_PLAIN):
        raise Failed(f"--target: expected https:// beside --ca or --certificate, got {given!r}")
    if (certificate is None) != (key is None):
        raise Failed("expected --certificate and --key, got one of them")
    address = given
    for prefix in (*_PLAIN, *_SECURE):
        address = address.removeprefix(prefix)
    return Target(address.rstrip("/"), _token(token_file), secure, ca, certificate, key)


def _token(file: Path | None) -> str:
    """The first line of a file that is no comment, or the variable."""
    if file is None:
        return os.environ.get(TOKEN, "").strip()
    lines = [line.strip() for line in _read(file).decode("utf-8-sig", "replace").splitlines()]
    token = next((line for line in lines if line and not line.startswith("#")), "")
    if not token:
        raise Failed(f"--token-file: {file}: expected a token on its first line, got none")
    if token.startswith("sha256:"):
        raise Failed(f"--token-file: {file} holds hashes, as the service's file does; expected a token itself")
    return token


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Failed(f"{path} cannot be read: {error.strerror or error}") from error


def _system_roots() -> Path | None:
    """The file of the roots that this system trusts, where there is one: gRPC brings a list of its own."""
    found = ssl.get_default_verify_paths().cafile
    return None if found is None else Path(found)
