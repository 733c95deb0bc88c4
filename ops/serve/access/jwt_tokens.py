"""JSON Web Tokens as bearer tokens: verified with the keys of their issuer, their roles taken from a claim.

Only signatures with a key pair are accepted: with a shared secret, a public key could be taken for one.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from thalweg.ops.serve.access.callers import Grant, Identity, NotVerified
from thalweg.ops.serve.access.jwt_keys import KeySet
from thalweg.ops.serve.access.roles import ROLES

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_KINDS = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_LONGEST = 16 << 10
_KEPT = 1000  # verified tokens; a signature takes longer to verify than a prediction to compute
_KEPT_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtSettings:
    """What tokens must say, and where their roles stand."""

    issuer: str
    audience: str
    roles_claim: str = "roles"
    role_prefix: str = ""
    models_claim: str = ""
    leeway_seconds: float = 30.0


class JwtTokens:
    """Verifies tokens of one issuer. Thread-safe.

    Args:
        settings: What they must say.
        keys: The issuer's keys.
        clock: Unix seconds.
    """

    def __init__(self, settings: JwtSettings, keys: KeySet, clock: Callable[[], float] = time.time) -> None:
        self._settings, self.keys, self._clock = settings, keys, clock
        self._known: OrderedDict[bytes, tuple[float, Identity]] = OrderedDict()
        self._known_by: object = None

    def identity(self, token: str) -> Identity | None:
        """Who has a token; None if it has not the form of a JWT. Raises NotVerified."""
        if len(token) > _LONGEST or not _SHAPE.fullmatch(token):
            return None
        keys, digest, now = self.keys.keys, hashlib.sha256(token.encode()).digest(), self._clock()
        if self._known_by is not keys:  # verified with keys that may have been withdrawn
            self._known, self._known_by = OrderedDict(), keys
        until, found = self._known.get(digest, (0.0, None))
        if found is not None and now < until:
            return found
        claims = self._verified(token, keys, now)
        found = self._identity(claims)
        self._known[digest] = min(now + _KEPT_SECONDS, float(claims["exp"])), found
        while len(self._known) > _KEPT:
            try:
                self._known.popitem(last=False)
            except KeyError:  # another thread was first
                break
        return found

    def _verified(self, token: str, keys: tuple[Mapping[str, Any], ...], now: float) -> Mapping[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise NotVerified(f"the one that came is no JWT: {error}") from error
        algorithm = header.get("alg")
        if algorithm not in ALGORITHMS:
            raise NotVerified(
                f"the JWT that came is signed by {algorithm!r:.40}, not by one of {', '.join(ALGORITHMS)}"
            )
        if not keys:
            raise NotVerified(f"its issuer's keys are not known: {self.keys.why_none}")
        key = self._key(header.get("kid"), algorithm, keys)
        settings = self._settings
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                jwt.PyJWK(dict(key), algorithm=algorithm).key,
                algorithms=[algorithm],
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=settings.leeway_seconds,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.PyJWTError as error:
            raise NotVerified(f"the JWT that came is refused: {str(error)[:200]}") from error
        return claims

    def _key(self, kid: Any, algorithm: str, keys: tuple[Mapping[str, Any], ...]) -> Mapping[str, Any]:
        fitting = [
            key for key in keys if key["kty"] == _KINDS[algorithm[:2]] and key.get("alg", algorithm) == algorithm
        ]
        if kid is None:
            if len(fitting) == 1:
                return fitting[0]
            raise NotVerified(
                f"the JWT that came names no key (kid), and its issuer has {len(fitting)} for {algorithm}"
            )
        for key in fitting:
            if key.get("kid") == kid:
                return key
        self.keys.want()
        raise NotVerified("the key of the JWT that came is none of its issuer's, or a new one; retry in some seconds")

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        settings = self._settings
        prefix = settings.role_prefix
        given = {
            one.removeprefix(prefix) for one in _texts(_at(claims, settings.roles_claim)) if one.startswith(prefix)
        }
        models = None
        if settings.models_claim:
            models = frozenset(_texts(_at(claims, settings.models_claim)))
        name = re.sub(r"[^\w.@:+|-]", "_", str(claims.get("sub", "jwt")))[:100]
        grant = Grant(frozenset(role for role in ROLES if role in given), models)
        return Identity(f"jwt:{name}", (grant,), expires=float(claims["exp"]))


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """The claim of a path such as `realm_access.roles`; of a name with dots, that claim."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _texts(value: Any) -> list[str]:
    """A claim as a list: it is one, or a text with spaces, as `scope` is."""
    if isinstance(value, str):
        return value.split()
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
