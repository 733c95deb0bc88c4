"""TLS of the HTTP server: the newest certificates for each connection, and bounds on those that do not get far."""

from __future__ import annotations

import ssl
import weakref
from collections.abc import Callable
from typing import Any

import structlog

from thalweg.ops.serve.bounds.rare_log import RareLog
from thalweg.ops.serve.tls.certificates import Certificates

log = RareLog(structlog.get_logger(__name__))

HANDSHAKE_SECONDS = 5.0
"""Time for a handshake."""
_MOST_HANDSHAKES = 200
_PLAIN = ("HTTP_REQUEST", "WRONG_VERSION_NUMBER", "HTTPS_PROXY_REQUEST", "RECORD_LAYER_FAILURE")
_FOR_PEOPLE = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the caller has no certificate",
    "UNSUPPORTED_PROTOCOL": "the caller speaks a version of TLS before 1.2",
    "TLSV1_ALERT_UNKNOWN_CA": "the caller does not trust the certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the caller says that the certificate has expired",
}


class NewestContext(ssl.SSLContext):
    """A context that is only a door: each connection gets the context of the newest certificates.

    asyncio takes one context for all connections; certificate, key and client CA change together.
    """

    _certificates: Certificates
    _refused: Callable[[str], None]
    _open: weakref.WeakSet[ssl.SSLObject]

    @classmethod
    def of(cls, certificates: Certificates, refused: Callable[[str], None]) -> NewestContext:
        """A context.

        Args:
            certificates: The certificates.
            refused: Called with `tls` for each handshake that fails, and `connections` for one too many.
        """
        made = cls(ssl.PROTOCOL_TLS_SERVER)
        made._certificates, made._refused = certificates, refused
        made._open = weakref.WeakSet()
        return made

    def wrap_bio(self, *arguments: Any, **settings: Any) -> ssl.SSLObject:
        """As `SSLContext.wrap_bio`. Raises ConnectionRefusedError if too many handshakes are open."""
        if len(self._open) >= _MOST_HANDSHAKES:
            self._refused("connections")
            raise ConnectionRefusedError(f"{_MOST_HANDSHAKES} TLS handshakes are open")
        context = self._certificates.current().context
        context.sslobject_class = _Told
        made = context.wrap_bio(*arguments, **settings)
        assert isinstance(made, _Told)
        made.door = self
        self._open.add(made)
        return made

    def ended(self, one: ssl.SSLObject) -> None:
        """A handshake has succeeded."""
        self._open.discard(one)

    def failed(self, error: ssl.SSLError) -> None:
        """A handshake has failed."""
        self._refused("tls")
        reason = str(error.reason or error)
        if reason in _PLAIN:
            log.warning("a caller spoke plain text to the TLS port of HTTP: expected https")
            return
        if isinstance(error, ssl.SSLCertVerificationError):
            problem = f"the caller's certificate is refused: {error.verify_message}"
        else:
            problem = _FOR_PEOPLE.get(reason, reason.replace("_", " ").lower())
        log.warning("a TLS handshake failed", problem=problem)


class _Told(ssl.SSLObject):
    """Tells its context how its handshake ends."""

    door: NewestContext

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self.door.failed(error)
            raise
        self.door.ended(self)


def common_name(certificate: Any) -> str | None:
    """The common name in a certificate as `getpeercert` gives it; None: it has none, or there is no certificate."""
    for part in (certificate or {}).get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return str(value)
    return None
