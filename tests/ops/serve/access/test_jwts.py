"""JSON Web Tokens: signed by the issuer's keys, which are rotated, or refused with the reason."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.ops.serve.serving import served
from tests.services.processes import until
from thalweg.memory.audit import audit_log
from thalweg.ops.config.config import parse
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.serve.access.callers import Identity, NotVerified
from thalweg.ops.serve.access.jwt_keys import KeySet, KeysUnusable, read_keys
from thalweg.ops.serve.access.jwt_tokens import JwtSettings, JwtTokens
from thalweg.ops.serve.access.tokens import Tokens
from thalweg.stream.health.registry import HealthRegistry

ISSUER, AUDIENCE = "http://127.0.0.1/id", "thalweg"
FIRST, SECOND, STRANGE = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
WIDE = rsa.generate_private_key(65537, 2048)
SETTINGS = JwtSettings(issuer=ISSUER, audience=AUDIENCE)


def public(key: Any, kid: str | None) -> dict[str, Any]:
    kind = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    found = json.loads(kind.to_jwk(key.public_key()))
    return found if kid is None else {**found, "kid": kid}


def written(path: Path, *keys: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"keys": keys}))
    return path


def token(key: Any = FIRST, kid: str | None = "first", algorithm: str = "ES256", **claims: Any) -> str:
    now = int(time.time())
    given = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": now + 300, "roles": ["predict"], **claims}
    return jwt.encode(
        {name: one for name, one in given.items() if one is not None},
        key,
        algorithm=algorithm,
        headers={} if kid is None else {"kid": kid},
    )


def verifier(path: Path, **settings: Any) -> JwtTokens:
    keys = KeySet(str(path), ISSUER)
    keys.refresh()
    return JwtTokens(JwtSettings(**{"issuer": ISSUER, "audience": AUDIENCE, **settings}), keys)


@pytest.fixture
def one_key(tmp_path: Path) -> Path:
    return written(tmp_path / "keys.json", public(FIRST, "first"))


def roles(identity: Identity | None) -> list[str]:
    assert identity is not None
    return sorted(role for grant in identity.grants for role in grant.roles)


def test_a_token_of_the_issuer_has_the_roles_of_its_claim(one_key: Path) -> None:
    found = verifier(one_key).identity(token(roles=["predict", "learn", "admin", 3]))

    assert found is not None
    assert (found.name, roles(found), found.grants[0].models) == ("jwt:ada", ["learn", "predict"], None)


@pytest.mark.parametrize(
    ("settings", "claims", "expected"),
    [
        ({"roles_claim": "scope"}, {"scope": "read openid predict"}, ["predict", "read"]),
        ({"roles_claim": "realm_access.roles"}, {"realm_access": {"roles": ["operate"]}}, ["operate"]),
        ({"roles_claim": "https://x.example/roles"}, {"https://x.example/roles": ["read"]}, ["read"]),
        ({"role_prefix": "thalweg:"}, {"roles": ["thalweg:read", "predict"]}, ["read"]),
        ({}, {"roles": None}, []),
        ({}, {"roles": {"predict": True}}, []),
    ],
)
def test_roles_stand_where_the_configuration_says(
    one_key: Path, settings: dict[str, str], claims: dict[str, Any], expected: list[str]
) -> None:
    assert roles(verifier(one_key, **settings).identity(token(**claims))) == expected


@pytest.mark.parametrize(("given", "models"), [(["m", "n"], {"m", "n"}), ("m", {"m"}), (None, set())])
def test_models_stand_in_a_claim_and_without_it_there_are_none(one_key: Path, given: Any, models: set[str]) -> None:
    found = verifier(one_key, models_claim="models").identity(token(models=given))

    assert found is not None
    assert found.grants[0].models == models


def refusals() -> dict[str, tuple[str, str]]:
    now = int(time.time())
    header, body, signature = token().split(".")
    return {
        "expired": (token(exp=now - 60), "expired"),
        "for others": (token(aud="somebody-else"), "[Aa]udience"),
        "for nobody": (token(aud=None), "aud"),
        "of another issuer": (token(iss="https://other.example"), "[Ii]ssuer"),
        "not valid yet": (token(nbf=now + 600), "not yet valid"),
        "for ever": (token(exp=None), "exp"),
        "of a strange key": (token(STRANGE), "[Ss]ignature"),
        "of an unknown key": (token(SECOND, "second"), "none of its issuer's, or a new one"),
        "unsigned": (jwt.encode({"iss": ISSUER}, None, algorithm="none"), "is signed by 'none'"),
        "signed by a secret": (token("x" * 64, algorithm="HS256"), "is signed by 'HS256'"),
        "of another kind of key": (token(WIDE, algorithm="RS256"), "none of its issuer's"),
        "changed": (f"{header}.{body[:-4]}AAAA.{signature}", "refused"),
        "no JSON": ("aaaa.bbbb.cccc", "is no JWT"),
    }


@pytest.mark.parametrize("name", refusals())
def test_what_is_not_as_it_must_be_is_refused_with_the_reason(one_key: Path, name: str) -> None:
    given, reason = refusals()[name]

    with pytest.raises(NotVerified, match=reason):
        verifier(one_key).identity(given)


def test_a_token_without_a_key_id_is_good_where_there_is_one_key(one_key: Path, tmp_path: Path) -> None:
    two = written(tmp_path / "two.json", public(FIRST, "first"), public(SECOND, "second"))
    mixed = written(tmp_path / "mixed.json", public(FIRST, None), public(WIDE, None))

    assert roles(verifier(one_key).identity(token(kid=None))) == ["predict"]
    assert roles(verifier(mixed).identity(token(kid=None))) == ["predict"]  # one that fits its algorithm
    with pytest.raises(NotVerified, match=r"names no key \(kid\), and its issuer has 2 for ES256"):
        verifier(two).identity(token(kid=None))


def test_other_forms_are_left_to_the_token_file(one_key: Path) -> None:
    for other in ("a-token-of-some-length", "a.b", "", "x" * 100_000, "a b.c.d", "..", "a.b.c.d"):
        assert verifier(one_key).identity(other) is None


def test_a_withdrawn_key_verifies_no_more_also_not_what_it_did(one_key: Path) -> None:
    tokens, given = verifier(one_key), token()
    assert roles(tokens.identity(given)) == ["predict"]

    written(one_key, public(SECOND, "second"))
    tokens.keys.refresh()

    with pytest.raises(NotVerified, match="none of its issuer's"):
        tokens.identity(given)
    assert roles(tokens.identity(token(SECOND, "second"))) == ["predict"]


def test_what_was_verified_once_expires_all_the_same(one_key: Path) -> None:
    now = time.time()
    tokens = verifier(one_key)
    tokens._clock = lambda: now
    given = token(exp=int(now) + 2)
    assert roles(tokens.identity(given)) == ["predict"]

    tokens._settings = JwtSettings(issuer=ISSUER, audience=AUDIENCE, leeway_seconds=0)
    now += 3
    tokens._verified = lambda *_: (_ for _ in ()).throw(NotVerified("judged again"))  # type: ignore[method-assign]

    with pytest.raises(NotVerified, match="judged again"):
        tokens.identity(given)


@contextmanager
def issuer(answers: dict[str, Any]) -> Iterator[str]:
    """An issuer that answers these paths; a text is where it redirects to."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path)
            self.send_response(404 if found is None else 302 if isinstance(found, str) else 200)
            if isinstance(found, str):
                self.send_header("location", found)
            self.end_headers()
            if isinstance(found, dict):
                self.wfile.write(json.dumps(found).encode())

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def test_keys_are_found_by_the_issuers_own_document_and_fetched_again_when_they_are_rotated(tmp_path: Path) -> None:
    answers: dict[str, Any] = {}
    with issuer(answers) as url:
        answers["/.well-known/openid-configuration"] = {"jwks_uri": f"{url}/keys"}
        answers["/keys"] = {"keys": [public(FIRST, "first")]}
        keys = KeySet("", url, soon_seconds=0.01)
        tokens = JwtTokens(JwtSettings(issuer=url, audience=AUDIENCE), keys)
        with served(tmp_path, jwts=tokens) as parts:
            base = f"http://127.0.0.1:{parts.server.http_port}"

            def status(given: str, path: str = "/v1/models/m/predict") -> int:
                body = {"features": [1, 0, 0, 0]}
                return httpx.post(base + path, json=body, headers={"authorization": f"Bearer {given}"}).status_code

            until("the first keys", lambda: status(token(iss=url)) == 200)
            assert status(token(iss=url), "/v1/models/m/events") == 403
            assert httpx.get(f"{base}/v1/models").status_code == 401
            answers["/keys"] = {"keys": [public(SECOND, "second")]}
            until("the rotated keys", lambda: status(token(SECOND, "second", iss=url)) == 200)
            assert status(token(iss=url)) == 401


def test_a_change_of_the_keys_stands_in_the_audit_log_and_once_that_they_cannot_be_fetched(
    tmp_path: Path, one_key: Path
) -> None:
    keys, sound = KeySet(str(one_key), ISSUER, audit=audit_log(tmp_path)), one_key.read_text()

    keys.refresh()
    for text in ("[]", "[]", json.dumps({"keys": [public(SECOND, "second")]}), sound):
        one_key.write_text(text)
        keys.refresh()

    entries = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert {(one["action"], one["subject"], one["by_kind"]) for one in entries} == {
        ("reload_jwt_keys", str(one_key), "service")
    }
    assert [(one["outcome"], one["detail"].partition(": ")[2] or one["detail"]) for one in entries] == [
        ("failed", "expected an object, got list"),
        ("done", "keys second"),
        ("done", "keys first"),
    ]


def test_keys_that_cannot_be_fetched_leave_those_before_and_show_in_health(one_key: Path) -> None:
    registry = HealthRegistry()
    keys = KeySet(str(one_key), ISSUER, registry)
    keys.refresh()
    known = keys.keys

    one_key.write_text("[]")
    keys.refresh()

    (health,) = registry.report()
    assert keys.keys is known
    assert (health.component, str(health.state), "expected an object" in health.reason) == (
        "jwt_keys",
        "degraded",
        True,
    )


def test_without_keys_it_waits_for_them_and_says_why(tmp_path: Path) -> None:
    registry = HealthRegistry()
    tokens = JwtTokens(SETTINGS, KeySet(str(tmp_path / "missing.json"), ISSUER, registry))
    tokens.keys.refresh()

    (health,) = registry.report()
    assert (str(health.state), "No such file" in health.reason) == ("waiting", True)
    with pytest.raises(NotVerified, match=r"its issuer's keys are not known: .*No such file"):
        tokens.identity(token())


def test_an_issuer_is_not_followed_elsewhere_and_not_asked_in_clear() -> None:
    answers: dict[str, Any] = {}
    with issuer(answers) as url, issuer({"/keys": {"keys": [public(FIRST, "first")]}}) as other:
        answers["/keys"] = f"{other}/keys"
        with pytest.raises(KeysUnusable, match="302"):
            read_keys(f"{url}/keys", "")
    with pytest.raises(KeysUnusable, match="expected https"):
        read_keys("http://id.example/keys", "")
    secret = {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}
    with issuer({"/keys": secret}) as url, pytest.raises(KeysUnusable, match="expected public keys"):
        read_keys(f"{url}/keys", "")


def test_a_jwt_and_a_token_of_the_file_are_good_side_by_side(one_key: Path, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("a-token-of-some-length roles=read\n")
    with served(tmp_path, jwts=verifier(one_key), tokens=Tokens(tmp_path / "tokens")) as parts:
        url = f"http://127.0.0.1:{parts.server.http_port}/v1/models"
        found = {
            given: httpx.get(url, headers={"authorization": f"Bearer {given}"})
            for given in ("a-token-of-some-length", token(roles=["read"]), token(roles=["learn"]), token(aud="other"))
        }

    assert [answer.status_code for answer in found.values()] == [200, 200, 403, 401]
    assert "Audience" in list(found.values())[3].json()["error"]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"audience": "a"}, "service.jwt.issuer: missing"),
        ({"issuer": "https://x.example"}, "service.jwt.audience: missing"),
        ({"issuer": "https://x.example", "audience": ""}, "service.jwt.audience: expected the name of this service"),
        ({"issuer": "http://x.example", "audience": "a"}, "service.jwt.keys: expected a file or an https:// URL"),
        ({"issuer": "x", "audience": "a", "keys": "missing.json"}, "service.jwt.keys: missing.json cannot be read"),
    ],
)
def test_a_configuration_that_could_never_verify_is_a_mistake(given: dict[str, str], text: str) -> None:
    model = {"name": "m", "learner": "ridge", "topic": "t", "inputs": {"x": {"shape": [2]}}}

    with pytest.raises(ConfigurationError, match=text):
        parse({"service": {"jwt": given}, "model": [model]}, "t.toml", {})
