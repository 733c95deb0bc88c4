"""The door: every call of either interface is looked up in the table of roles, and its caller identified, here."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar
from urllib.parse import unquote

import grpc

from thalweg.memory.audit import Actor
from thalweg.ops.serve.access.callers import CALLER, NONE_CAME, NOT_KNOWN, Caller, Grant, Identity, NotVerified
from thalweg.ops.serve.access.origins import Origins, is_loopback
from thalweg.ops.serve.access.rates import Rates
from thalweg.ops.serve.access.refusals import Refusals
from thalweg.ops.serve.access.roles import ROLES, Row
from thalweg.ops.serve.access.tokens import ANONYMOUS, Tokens
from thalweg.ops.serve.errors import Forbidden, RateExceeded

Message = TypeVar("Message")

READ_ONLY = "this service has no token_file, so its page is read-only"
_NOBODY = Identity(ANONYMOUS, ())
_EVERYTHING = Identity(ANONYMOUS, (Grant(frozenset(ROLES)),))
_PAGE = "requests from web pages may do so only with a token, and this service has no token_file"
_OF_PROXIES = ("forwarded", "via", "x-forwarded-for", "x-forwarded-proto", "x-request-id", "x-envoy-attempt-count")
_ISTIO = "127.0.0.6"  # from which its sidecar passes on what comes from elsewhere
_ELSEWHERE = "without a token_file that is only for programs on the same machine"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSettings:
    """Settings of `[service]` about callers."""

    hosts: Iterable[str] = ()
    """Names under which the service is reached."""
    origins: Iterable[str] = ()
    """Origins whose pages count as the service's own."""
    requests_per_second: float = 0.0
    """Of each identity; 0: no limit."""


class VerifiesTokens(Protocol):
    """Verifies tokens that say themselves who has them, as `jwt_tokens.JwtTokens` does."""

    def identity(self, token: str) -> Identity | None:
        """Who has a token; None if it is of another form. Raises NotVerified."""


class Access:
    """Identifies callers, and refuses what they may not call. Thread-safe.

    Args:
        tokens: Who may do what. Without them and without `jwts` the last column of the table of roles holds.
        settings: Hosts, origins and rates.
        jwts: Verifies tokens of an issuer; None: there are none.
        refusals: Told of each refusal; None: nobody is.
        clock: Seconds.
    """

    def __init__(
        self,
        tokens: Tokens | None = None,
        settings: AccessSettings | None = None,
        jwts: VerifiesTokens | None = None,
        refusals: Refusals | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = settings or AccessSettings()
        self._tokens, self._jwts = tokens, jwts
        self._tokenless = tokens is None and jwts is None
        self._refusals = refusals or Refusals()
        self._origins = Origins(settings.hosts, settings.origins)
        self._rates = Rates(settings.requests_per_second, clock)
        self._is_open = self._tokenless and not settings.requests_per_second
        self._anyone = Caller(_EVERYTHING, NONE_CAME, self._refusals, ANONYMOUS)

    def enter_grpc(self, row: Row, context: grpc.ServicerContext) -> None:
        """Admit a call of gRPC before its message is read, and make its caller that of this thread.

        Raises:
            Unauthenticated, Forbidden: It may not call this for any model.
            RateExceeded: It calls too often.
        """
        if row.role is None:
            CALLER.set(None)
            return
        if self._is_open and row.tokenless in ("everyone", "programs"):  # nothing about the caller matters
            CALLER.set(self._anyone)
            return
        metadata = dict(context.invocation_metadata())
        given = metadata.get("authorization")
        peer = context.peer()
        names = context.auth_context().get("x509_common_name", ()) if self._tokens is not None else ()
        certificate = bytes(names[0]).decode("utf-8", "replace") if names else None
        caller = self._caller(given if isinstance(given, str) else None, certificate, peer)
        if self._tokenless and row.tokenless == "this machine" and not _is_here(peer, metadata):
            caller = caller._replace(barred=_ELSEWHERE)
        self._admit(row, caller, peer)
        if not row.model:
            caller.require(row.role, None, row.call)
        CALLER.set(caller)

    def enter_http(
        self,
        row: Row,
        headers: Mapping[str, str],
        *,
        reads: bool,
        model: str | None,
        arrived_at: str | None = None,
        peer: str = "",
        certificate: str | None = None,
    ) -> None:
        """Admit a request of HTTP before its body is read, and make its caller that of this task.

        Args:
            row: Its row.
            headers: By lower-case name.
            reads: Whether its method can change nothing.
            model: The model in its path, if any.
            arrived_at: The address of ours that it came to.
            peer: The caller's address.
            certificate: The common name of its client certificate, if any.

        Raises:
            Unauthenticated, Forbidden: It may not call this.
            RateExceeded: It calls too often.
        """
        if row.role is None:
            CALLER.set(None)
            return
        if host := self._origins.wrong_host(headers, arrived_at):
            by, why = Actor(f"{ANONYMOUS} {_address(peer)}", "anonymous"), "the host is none of this service's"
            self._refusals.tell("host", by, why, peer=peer, call=row.call, host=f"{host!r:.80}")
            raise Forbidden(
                f"host {host!r:.80} is none of this service's: reach it by address, or add it to service.hosts"
            )
        caller = self._caller(headers.get("authorization"), certificate, peer)
        if not reads and caller.anonymous and self._origins.is_foreign_page(headers):
            origin, why = f"{headers.get('origin', '')!r:.80}", "a web page of another origin"
            self._refusals.tell("origin", caller.actor(), why, peer=peer, call=row.call, origin=origin)
            more = "and this service has no token_file" if self._tokenless else "or add its origin to service.origins"
            raise Forbidden(f"requests from web pages of other origins need a token, {more}")
        if self._tokenless:
            if row.tokenless == "nobody":
                caller = caller._replace(barred=READ_ONLY)
            elif self._origins.is_foreign_page(headers) or (
                row.tokenless != "everyone" and self._origins.is_page(headers)
            ):
                caller = caller._replace(barred=_PAGE)
        self._admit(row, caller, peer)
        caller.require(row.role, model, row.call)
        CALLER.set(caller)

    def paced(self, messages: Iterator[Message]) -> Iterator[Message]:
        """The messages of a stream, no faster than the caller's rate: a stream that is too fast waits."""
        caller = CALLER.get()
        for message in messages:
            if caller is not None:
                while wait := self._rates.wait_seconds(caller.key, caller.identity.rate):
                    time.sleep(min(wait, 0.1))
            yield message

    def _caller(self, authorization: str | None, certificate: str | None, peer: str) -> Caller:
        identity, why = _EVERYTHING, NONE_CAME
        if not self._tokenless:
            identity, why = self._identity(authorization, certificate)
        key = f"{ANONYMOUS} {_address(peer)}" if why else identity.name
        return Caller(identity, why, self._refusals, key, peer)

    def _identity(self, authorization: str | None, certificate: str | None) -> tuple[Identity, str]:
        """Who calls, and why it is nobody in particular, as `Tokens.identity` has it."""
        if self._jwts is not None and authorization is not None:
            scheme, _, token = authorization.partition(" ")
            try:
                found = self._jwts.identity(token.strip()) if scheme.lower() == "bearer" else None
            except NotVerified as error:
                return self._nobody(), str(error)
            if found is not None:
                return found, ""
        if self._tokens is not None:
            return self._tokens.identity(authorization, certificate)
        return self._nobody(), NONE_CAME if authorization is None else NOT_KNOWN

    def _nobody(self) -> Identity:
        return _NOBODY if self._tokens is None else self._tokens.identity(None)[0]

    def _admit(self, row: Row, caller: Caller, peer: str) -> None:
        assert row.role is not None
        if wait := self._rates.wait_seconds(caller.key, caller.identity.rate):
            name = caller.identity.name
            self._refusals.tell("rate", caller.actor(), "it calls too often", peer=peer, call=row.call, caller=name)
            raise RateExceeded(f"{caller.identity.name!r} may not call more often; retry in {max(0.01, wait):.2f} s")
        if not caller.may_for_some(row.role):
            caller.refuse(row.role, what=row.call, for_any=bool(row.model))


def _address(peer: str) -> str:
    """The address of a gRPC peer such as `ipv4:127.0.0.1:50000` or `ipv6:%5B::1%5D:50000`, or of HTTP."""
    kind, colon, rest = unquote(peer).partition(":")
    if kind in ("ipv4", "ipv6") and colon:
        return rest.rpartition(":")[0].strip("[]")
    return peer


def _is_here(peer: str, metadata: Container[str]) -> bool:
    """Whether a program on this machine calls, and no proxy there for somebody else, such as that of a mesh."""
    if any(name in metadata for name in _OF_PROXIES):
        return False
    address = _address(peer)
    return peer.startswith("unix:") or (is_loopback(address) and address != _ISTIO)
