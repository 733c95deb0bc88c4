"""Bearer tokens and their roles, from a file that is read again when it changes.

A line is a token, in clear or as `sha256:HEX`, and then what it may do:

    # of the scoring jobs
    sha256:5e88…  roles=predict,read models=fraud,payments name=scoring
    anonymous     roles=read

Only hashes are kept in memory. Tokens are found by their hash, which nobody can choose, and compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import structlog

from thalweg.memory.audit import Actor, AuditLog, Outcome
from thalweg.ops.serve.access.callers import NONE_CAME, NOT_KNOWN, Grant, Identity
from thalweg.ops.serve.access.roles import ROLES, Role
from thalweg.stream.health.registry import Health

log = structlog.get_logger(__name__)

SHORTEST = 16
"""Shorter tokens could be guessed."""
ANONYMOUS = "anonymous"
"""Stands for a token in the line that says what callers without one may do."""
_CERTIFICATE = "certificate:"
_HASHED = "sha256:"
_KEY_BYTES = 16
_LOOK_SECONDS = 1.0
_OPTION = re.compile(r"^(?P<rest>.*?)\s+(?P<key>roles|models|name|rate|expires)=(?P<value>\S*)$")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:+-]{0,99}")


class TokensUnusable(ValueError):
    """The token file is not usable; the message says why, and never shows a token."""


@dataclass(frozen=True, slots=True)
class TokenTable:
    """What a token file says."""

    by_hash: Mapping[bytes, tuple[bytes, Identity]]
    """Identities with the SHA-256 of their token, by its first bytes."""
    by_certificate: Mapping[str, Identity]
    """Identities by the common name of their client certificate."""
    anonymous: Identity
    """Callers without a token."""
    in_clear: int = 0
    """Tokens that stand in the file in clear."""


class Tokens:
    """The tokens of a file. Thread-safe.

    Args:
        path: The file.
        clock: Seconds, to look at the file at most once a second.
        health: Whether what the file says now is what holds.
        audit: Where a reload is recorded; None: nowhere.

    Raises:
        TokensUnusable: The file cannot be read, has no token, or a line that is of no use.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float] = time.monotonic,
        health: Health | None = None,
        audit: AuditLog | None = None,
    ) -> None:
        self._path, self._clock, self._audit = path, clock, audit
        self._health = health or Health("tokens")
        self._lock = threading.Lock()
        self._changed = self._signature()
        self._looked = clock()
        self._table = read_tokens(path)
        self._health.running()

    def identity(self, authorization: str | None, certificate: str | None = None) -> tuple[Identity, str]:
        """Who sends a header `Authorization: Bearer TOKEN`, or has a client certificate of this common name, and, for
        those that are anonymous, why they are: the text continues "a token is required, and …".
        """
        table = self._current()
        if authorization is None:
            known = table.by_certificate.get(certificate) if certificate else None
            return (known, "") if known is not None else (table.anonymous, NONE_CAME)
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return table.anonymous, "the scheme of the one that came is not Bearer"
        digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
        entry = table.by_hash.get(digest[:_KEY_BYTES], (b"", table.anonymous))
        found = entry[1] if hmac.compare_digest(entry[0], digest) else None
        if found is None:
            return table.anonymous, NOT_KNOWN
        if found.expires is not None and time.time() >= found.expires:
            return table.anonymous, f"that of {found.name!r} has expired"
        return found, ""

    def look(self) -> None:
        """Read the file again if it has changed: called about once a second, so that one which cannot be used is told
        whether or not anybody calls.
        """
        self._current()

    def _current(self) -> TokenTable:
        with self._lock:
            now = self._clock()
            if now - self._looked >= _LOOK_SECONDS:
                self._looked, changed = now, self._signature()
                if changed != self._changed:
                    self._changed = changed
                    self._reload()
            return self._table

    def _reload(self) -> None:
        try:
            self._table = read_tokens(self._path)
        except TokensUnusable as error:
            log.error("cannot reload the tokens: the previous ones stay valid", problem=str(error))
            self._record("failed", str(error))
            self._health.degraded(f"cannot reload the tokens, the previous ones stay valid: {error}")
        else:
            self._health.running()
            log.info("reloaded the tokens", file=str(self._path), tokens=len(self._table.by_hash))
            self._record("done", f"{len(self._table.by_hash)} tokens")

    def _record(self, outcome: Outcome, detail: str) -> None:
        if self._audit is not None:
            by = Actor("a change of the file", "service")
            self._audit.record("reload_tokens", by, outcome, subject=str(self._path), detail=detail)

    def _signature(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino


@dataclass(slots=True)
class _Line:
    number: int
    subject: str
    options: dict[str, str] = field(default_factory=dict)


def read_tokens(path: Path) -> TokenTable:
    """What a file says. Raises TokensUnusable."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # an editor's mark is no part of the first token
    except (OSError, UnicodeDecodeError) as error:
        raise TokensUnusable(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return parse_tokens(text, str(path))


def parse_tokens(text: str, path: str) -> TokenTable:
    """What the text of a file says; `path` names it in messages. Raises TokensUnusable."""
    lines = list(_lines(text, path))
    hashes: dict[bytes, Identity] = {}
    certificates: dict[str, Identity] = {}
    anonymous: Identity | None = None
    in_clear = 0
    for line in lines:
        where = f"{path}, line {line.number}"
        if line.subject == ANONYMOUS:
            wrong = line.options.keys() & {"name", "expires"}
            if "roles" not in line.options or wrong:
                raise TokensUnusable(f"{where}: expected {ANONYMOUS} roles=ROLE[,ROLE]")
            anonymous = _more(anonymous, _identity(line, ANONYMOUS, where), where)
        elif line.subject.startswith(_CERTIFICATE):
            name = line.subject.removeprefix(_CERTIFICATE)
            if not name:
                raise TokensUnusable(f"{where}: expected {_CERTIFICATE}COMMON-NAME")
            certificates[name] = _more(certificates.get(name), _identity(line, name, where), where)
        else:
            hashed = line.subject.startswith(_HASHED)
            digest = _digest(line.subject, where)
            in_clear += not hashed
            usual = f"token-{digest.hex()[:8]}"  # of the hash of a token that cannot be guessed: it tells nothing
            hashes[digest] = _more(hashes.get(digest), _identity(line, usual, where), where)
    if not hashes and not certificates:
        raise TokensUnusable(f"{path}: expected one token per line, got none")
    _check_names([*hashes.values(), *certificates.values()], path)
    if anonymous is None:
        # A file without roles is of the form that was the only one: its tokens may do everything, others predict and
        # read. As soon as one line has roles, who has none has no rights.
        plain = not any("roles" in line.options for line in lines)
        anonymous = Identity(ANONYMOUS, (Grant(frozenset({"predict", "read"})),) if plain else ())
    by_hash = {digest[:_KEY_BYTES]: (digest, identity) for digest, identity in hashes.items()}
    return TokenTable(MappingProxyType(by_hash), MappingProxyType(certificates), anonymous, in_clear)


def _lines(text: str, path: str) -> Iterator[_Line]:
    for number, raw in enumerate(text.splitlines(), 1):
        rest = raw.strip()
        if not rest or rest.startswith("#"):
            continue
        line = _Line(number, "")
        while match := _OPTION.match(rest):
            rest, key = match["rest"].strip(), match["key"]
            if key in line.options:
                raise TokensUnusable(f"{path}, line {number}: {key}: given twice")
            line.options[key] = match["value"]
        line.subject = rest
        yield line


def _digest(subject: str, where: str) -> bytes:
    if subject.startswith(_HASHED):
        try:
            digest = bytes.fromhex(subject.removeprefix(_HASHED))
        except ValueError:
            digest = b""
        if len(digest) != hashlib.sha256().digest_size:
            raise TokensUnusable(f"{where}: expected sha256: and 64 hexadecimal digits")
        return digest
    if re.search(r"\s\w+=", subject):  # an option that is misspelt would become a part of the token
        raise TokensUnusable(f"{where}: expected a token and then roles=, models=, name=, rate= or expires=")
    if re.search(r"\s", subject):  # a sentence, say, without the # of a comment; no client could send it as a token
        raise TokensUnusable(f"{where}: expected a token without spaces, got {len(subject.split())} words")
    if len(subject) < SHORTEST:
        raise TokensUnusable(f"{where}: expected a token of at least {SHORTEST} characters")
    return hashlib.sha256(subject.encode()).digest()


def _identity(line: _Line, usual: str, where: str) -> Identity:
    options = line.options
    name = options.get("name", usual)
    if "name" in options and (fault := name_fault(name)):
        raise TokensUnusable(f"{where}: name: {fault}")
    grant = Grant(_roles(options.get("roles"), where), _models(options.get("models"), where))
    expires = None if "expires" not in options else expiry(options["expires"])
    if "expires" in options and expires is None:
        raise TokensUnusable(f"{where}: expires: {_NO_TIME}, got {options['expires']!r:.40}")
    return Identity(name, (grant,), _rate(options.get("rate"), where), expires)


def name_fault(name: str) -> str:
    """Why nobody can be called so; empty if somebody can."""
    if name == ANONYMOUS:
        return f"expected another name than {name!r}, which callers without a token have"
    return "" if _NAME.fullmatch(name) else f"expected letters, digits, '.', '_' or '-', got {name!r:.80}"


def _roles(text: str | None, where: str) -> frozenset[Role]:
    if text is None:
        return frozenset(ROLES)
    given = text.split(",")
    for one in given:
        if one not in ROLES:
            raise TokensUnusable(f"{where}: roles: expected some of {', '.join(ROLES)}, got {one!r:.40}")
    return frozenset(role for role in ROLES if role in given)


def _models(text: str | None, where: str) -> frozenset[str] | None:
    if text is None:
        return None
    names = text.split(",")
    if not all(names):
        raise TokensUnusable(f"{where}: models: expected names of models with commas between, got {text!r:.80}")
    return frozenset(names)


def _rate(text: str | None, where: str) -> float | None:
    if text is None:
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 < rate < float("inf"):
        raise TokensUnusable(f"{where}: rate: expected requests per second, above 0, got {text!r:.40}")
    return rate


_NO_TIME = "expected a date or a time in RFC 3339"


def expiry(text: str) -> float | None:
    """Unix seconds of a date or a time in RFC 3339, in UTC unless it has a zone; None if it is none."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _more(known: Identity | None, one: Identity, where: str) -> Identity:
    """An identity with the grants of one more line."""
    if known is None:
        return one
    if known.name != one.name:
        raise TokensUnusable(f"{where}: the same token as in an earlier line: expected the same name, {known.name!r}")
    return replace(
        known, grants=(*known.grants, *one.grants), rate=one.rate or known.rate, expires=one.expires or known.expires
    )


def _check_names(found: list[Identity], path: str) -> None:
    twice = [name for name, count in Counter(one.name for one in found).items() if count > 1]
    if twice:
        raise TokensUnusable(f"{path}: name: two tokens are called {twice[0]!r}")


def hashed(token: str) -> str:
    """A token as it stands in a file: `sha256:HEX`."""
    return _HASHED + hashlib.sha256(token.encode()).hexdigest()
