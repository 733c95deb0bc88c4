"""Certificates from files, checked before they are used, and read again when the files change."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import structlog

from thalweg.memory.audit import Actor, AuditLog, Outcome
from thalweg.stream.health.registry import Health

log = structlog.get_logger(__name__)

SOON_SECONDS = 14 * 86400.0
"""A certificate that expires sooner is pointed out."""
_LOOK_SECONDS = 1.0
_TRIES = 5  # to read certificate and key while somebody exchanges them
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME: the time is judged here, with a message of ours
_SERVER_AUTH = "it is not for servers (extended key usage)"


class CertificatesUnusable(ValueError):
    """Certificate, key or client CA cannot be used; the message says which, and why.

    Args:
        setting: The setting that names the file: `tls_certificate`, `tls_key` or `tls_client_ca`.
        message: What is wrong with it.
    """

    def __init__(self, setting: str, message: str) -> None:
        super().__init__(message)
        self.setting = setting


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files."""

    certificate: str
    """The certificate, and those between it and its root."""
    key: str
    client_ca: str = ""
    """Roots of the certificates of clients, which must then have one; empty: none is asked for."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Certificates that fit together."""

    certificate: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None
    context: ssl.SSLContext
    expires: float
    """Unix seconds."""
    begins: float
    """Unix seconds."""
    names: tuple[str, ...]
    """For which hosts it is."""

    def lapse(self, now: float) -> str:
        """Why clients refuse it now, as it is too old or too new; empty if they do not."""
        if now >= self.expires:
            return f"expired on {_date(self.expires)}"
        return f"not valid before {_date(self.begins)}" if now < self.begins else ""


class Certificates:
    """The certificates of a server. Thread-safe.

    Args:
        files: Where they are.
        clock: Seconds, to look at the files at most once a second.
        health: Whether the files' certificates are those in use, and clients take them.
        audit: Where a reload is recorded; None: nowhere.

    Raises:
        CertificatesUnusable: They cannot be used. One that has expired can, and is told in the log: a service that does
            not start again because of it would be worse.
    """

    def __init__(
        self,
        files: TlsFiles,
        clock: Callable[[], float] = time.monotonic,
        health: Health | None = None,
        audit: AuditLog | None = None,
    ) -> None:
        self._files, self._clock, self._audit = files, clock, audit
        self._health = health or Health("certificates")
        self._refused = ""  # why clients refuse them, as was told last
        self._not_reloaded = ""
        self._lock = threading.Lock()
        self._looked = clock()
        self._changed = _signature(files)
        self._loaded = load(files)
        self._tell()

    @property
    def asks_clients(self) -> bool:
        """Whether clients must have a certificate."""
        return bool(self._files.client_ca)

    def look(self) -> None:
        """Read the files again if they have changed: called about once a second, so that ones which cannot be used, and
        one that has expired, are told whether or not anybody connects.
        """
        self.current()

    def current(self) -> Loaded:
        """Those to use for a connection that begins now."""
        with self._lock:
            now = self._clock()
            if now - self._looked >= _LOOK_SECONDS:
                self._looked, changed = now, _signature(self._files)
                if changed != self._changed:
                    self._changed = changed
                    self._reload()
                self._tell()
            return self._loaded

    def _reload(self) -> None:
        try:
            self._loaded = load(self._files)
        except CertificatesUnusable as error:
            problem = f"{error.setting}: {error}"
            log.error("cannot reload the certificates: the previous ones stay in use", problem=problem)
            self._not_reloaded = f"cannot reload the certificates, the previous ones stay in use: {problem}"
            self._record("failed", problem)
            return
        self._not_reloaded = ""
        log.info("reloaded the certificates", expires=_date(self._loaded.expires), names=list(self._loaded.names))
        self._refused = ""
        self._record("done", f"expires {_date(self._loaded.expires)}")

    def _record(self, outcome: Outcome, detail: str) -> None:
        if self._audit is not None:
            by = Actor("a change of the files", "service")
            self._audit.record("reload_certificates", by, outcome, subject=self._files.certificate, detail=detail)

    def _tell(self) -> None:
        lapse = self._loaded.lapse(time.time())
        if lapse and lapse != self._refused:
            log.error("clients refuse the certificate", file=self._files.certificate, problem=lapse)
        self._refused = lapse
        if problem := self._not_reloaded or (lapse and f"clients refuse {self._files.certificate}: {lapse}"):
            self._health.degraded(problem)
        else:
            self._health.running()


def load(files: TlsFiles) -> Loaded:
    """Read and check certificates. Raises CertificatesUnusable."""
    for _ in range(_TRIES):
        before = _signature(files)
        certificate, key = _read(files.certificate, "tls_certificate"), _read(files.key, "tls_key")
        client_ca = _read(files.client_ca, "tls_client_ca") if files.client_ca else None
        context = _context(files)
        if _signature(files) == before:
            break
    else:
        raise CertificatesUnusable("tls_certificate", "its files change while they are read")
    told = _as_clients_see_it(files, certificate)
    begins, expires = (ssl.cert_time_to_seconds(told[name]) for name in ("notBefore", "notAfter"))
    names = tuple(str(name) for _, name in told.get("subjectAltName", ()))
    return Loaded(certificate, key, client_ca, context, expires, begins, names)


def _context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load_pair(context, files)
    if files.client_ca:
        try:
            context.load_verify_locations(files.client_ca)
        except (ssl.SSLError, OSError) as error:
            text = f"{files.client_ca}: expected certificates in PEM form"
            raise CertificatesUnusable("tls_client_ca", text) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _load_pair(context: ssl.SSLContext, files: TlsFiles) -> None:
    def encrypted() -> NoReturn:
        raise CertificatesUnusable("tls_key", f"{files.key}: expected a key without a passphrase")

    try:
        context.load_cert_chain(files.certificate, files.key, password=encrypted)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            text = f"{files.key} is not the key of the certificate {files.certificate}"
            raise CertificatesUnusable("tls_key", text) from error
        if error.reason == "EE_KEY_TOO_SMALL":
            text = f"{files.certificate}: its key is too short"
            raise CertificatesUnusable("tls_certificate", text) from error
        of_key = b"-----BEGIN CERTIFICATE" in _read(files.certificate, "tls_certificate")
        setting, path, kind = (
            ("tls_key", files.key, "a key") if of_key else ("tls_certificate", files.certificate, "a certificate")
        )
        raise CertificatesUnusable(setting, f"{path}: expected {kind} in PEM form") from error
    except OSError as error:
        raise CertificatesUnusable("tls_certificate", f"cannot be read: {error.strerror or error}") from error


def _as_clients_see_it(files: TlsFiles, certificate: bytes) -> Mapping[str, Any]:
    """The certificate as a client gets it, from a handshake in memory with one that trusts it.

    So what no client would accept is found here, and nothing beside Python's own module reads certificates.
    """
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _load_pair(server, files)
    client.check_hostname = False
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    try:
        client.load_verify_locations(cadata=certificate.decode("ascii", "replace"))
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = (client.wrap_bio(down, up, server_side=False), server.wrap_bio(up, down, server_side=True))
        waiting = set(ends)
        while waiting:
            for one in list(waiting):
                try:
                    one.do_handshake()
                    waiting.discard(one)
                except ssl.SSLWantReadError:
                    pass
        return ends[0].getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        text = _SERVER_AUTH if error.verify_message == "unsuitable certificate purpose" else error.verify_message
        raise CertificatesUnusable(
            "tls_certificate", f"{files.certificate}: clients would refuse it: {text}"
        ) from error
    except ssl.SSLError as error:
        raise CertificatesUnusable("tls_certificate", f"{files.certificate}: {_reason(error)}") from error


def _read(path: str, setting: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CertificatesUnusable(setting, f"{path} cannot be read: {error.strerror or error}") from error


def _signature(files: TlsFiles) -> tuple[object, ...]:
    found: list[object] = []
    for path in (files.certificate, files.key, files.client_ca):
        try:
            told = Path(path).stat()
        except OSError:
            found.append(None)
        else:
            found.append((told.st_mtime_ns, told.st_size, told.st_ino))
    return tuple(found)


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason).replace("_", " ").lower() if reason else str(error)


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
