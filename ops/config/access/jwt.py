"""`[service.jwt]`: JSON Web Tokens of an issuer."""

from __future__ import annotations

from dataclasses import fields
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from thalweg.memory.audit import AuditLog
from thalweg.models.parts.settings import NotNegative, Settings, rule
from thalweg.ops.serve.access.jwt_keys import KeySet, KeysUnusable, is_trusted, read_keys
from thalweg.stream.health.registry import HealthRegistry

if TYPE_CHECKING:
    from thalweg.ops.serve.access.jwt_tokens import JwtTokens


class JwtConfig(Settings):
    """`[service.jwt]`: JSON Web Tokens (OpenID Connect) as bearer tokens, beside those of `token_file`."""

    issuer: str
    """The issuer, as the claim `iss` has it, such as `https://id.example`."""
    audience: str
    """What the claim `aud` must contain: the name under which the issuer knows this service."""
    keys: str = ""
    """Its keys: a file with a JSON Web Key Set, or the URL of one; empty: the URL that the issuer's
    `/.well-known/openid-configuration` names. They are fetched every five minutes, and when a token names an unknown
    one; a file is read when it changes."""
    roles_claim: str = "roles"
    """The claim with the roles, a list or a text with spaces; a path such as `realm_access.roles`."""
    role_prefix: str = ""
    """What stands before our roles there, such as `thalweg:`; others are not ours."""
    models_claim: str = ""
    """The claim with the models that the roles are for; a token without it is for none. Empty: for all."""
    leeway_seconds: NotNegative = 30.0
    """How far the clocks of issuer and service may differ."""

    def verifier(self, registry: HealthRegistry, audit: AuditLog) -> JwtTokens:
        """What verifies tokens; its thread reports its health to `registry`, and each change of the keys to `audit`."""
        from thalweg.ops.serve.access.jwt_tokens import JwtSettings, JwtTokens  # the library is an extra

        settings = JwtSettings(**{one.name: getattr(self, one.name) for one in fields(JwtSettings)})
        return JwtTokens(settings, KeySet(self.keys, self.issuer, registry, audit=audit))

    @rule("issuer")
    def _issuer_can_be_used(self) -> str | None:
        if find_spec("jwt") is None:
            return "PyJWT is not installed; run: pip install 'thalweg[auth]'"
        return None if self.issuer else "expected the issuer, got ''"

    @rule("audience")
    def _audience_is_given(self) -> str | None:
        return None if self.audience else "expected the name of this service, got '': any token of the issuer would do"

    @rule("keys", "issuer")
    def _keys_can_be_had(self) -> str | None:
        if self.keys and not urlsplit(self.keys).scheme:
            try:
                read_keys(self.keys, "")
            except KeysUnusable as error:
                return str(error)
            return None
        url = self.keys or self.issuer
        return None if is_trusted(url) else f"expected a file or an https:// URL, got {url!r}"
