"""What a configuration leaves open to others, for `check` and for the log of a server that starts."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from thalweg.ops.config.addresses import split
from thalweg.ops.config.config import Config
from thalweg.ops.serve.access.origins import is_loopback
from thalweg.ops.serve.access.tokens import TokensUnusable, TokenTable, read_tokens
from thalweg.ops.serve.tls.certificates import SOON_SECONDS, CertificatesUnusable, Loaded, load

_OF_OTHERS = 0o077


def exposures(config: Config) -> Iterator[str]:
    """One line for each thing that somebody should look at; none of them keeps the service from starting."""
    service = config.service
    far = [name for name in ("grpc", "http") if not _is_near(getattr(service, name))]
    where = " and ".join(f"service.{name}" for name in far)
    asks_for_tokens = bool(service.token_file) or service.jwt is not None
    if far and not asks_for_tokens and not service.tls_client_ca:
        yield f"{where}: others can reach it, and there is no service.token_file: everyone may predict, teach and read"
    elif far and asks_for_tokens and not service.tls_certificate:
        yield f"{where}: others can reach it, and tokens are sent in clear: there is no service.tls_certificate"
    if service.health and not _is_near(service.health) and (asks_for_tokens or service.tls_certificate):
        yield "service.health: others can reach it, in plain text: it tells health and metrics to everyone"
    yield from _of_files(config)
    if service.tls_certificate:
        yield from _of_certificates(config)
    if service.token_file:
        yield from _of_tokens(config)


def lapsed_certificates(config: Config, now: float) -> list[str]:
    """Mistakes for `check`: certificates that clients refuse by now. A server that restarts only tells them, because
    it is better than none.
    """
    certificates = _certificates(config)
    lapse = "" if certificates is None else certificates.lapse(now)
    return [f"service.tls_certificate: {config.service.tls_certificate}: {lapse}"] if lapse else []


def readable_by_others(path: str) -> str:
    """What to do about a file that others on this machine may read; empty if they may not, or there is none."""
    try:
        found = Path(path).stat()
    except OSError:
        return ""
    mode = found.st_mode
    if found.st_uid != os.getuid() and found.st_gid in (os.getgid(), *os.getgroups()):
        mode &= ~stat.S_IRWXG  # another's file, given to this process by its group, as an orchestrator mounts secrets
    command = f"chmod {'-R go=' if stat.S_ISDIR(mode) else '600'} {path}"
    return f"others on this machine may read {path}; {command}" if mode & _OF_OTHERS else ""


def _of_files(config: Config) -> Iterator[str]:
    """State, log and store that were made readable by an earlier version or by somebody."""
    found = {
        "service.state_dir": config.service.state_dir,
        "log.url": config.log.url.removeprefix("sqlite:") if config.log.url.startswith("sqlite:") else "",
        "store.url": config.store.url.removeprefix("sqlite:") if config.store.url.startswith("sqlite:") else "",
    }
    for key, path in found.items():
        if path and (told := readable_by_others(path)):
            yield f"{key}: {told}"


def _of_certificates(config: Config) -> Iterator[str]:
    if found := readable_by_others(config.service.tls_key):
        yield f"service.tls_key: {found}"
    certificates = _certificates(config)
    left = SOON_SECONDS + 1 if certificates is None else certificates.expires - time.time()
    if 0 < left < SOON_SECONDS:
        yield f"service.tls_certificate: expires in {left / 86400:.1f} days"


def _certificates(config: Config) -> Loaded | None:
    try:
        return load(config.service.tls_files) if config.service.tls_certificate else None
    except CertificatesUnusable:
        return None  # a mistake, told as such


def _of_tokens(config: Config) -> Iterator[str]:
    path = config.service.token_file
    if found := readable_by_others(path):
        yield f"service.token_file: {found}"
    try:
        table = read_tokens(Path(path))
    except TokensUnusable:
        return  # a mistake, told as such
    if table.in_clear:
        clear = f"{table.in_clear} of its tokens stand in clear"
        yield f"service.token_file: {clear}; `thalweg token` makes lines with hashes"
    yield from _unknown_models(config, table)


def _unknown_models(config: Config, table: TokenTable) -> Iterator[str]:
    known = [model.name for model in config.model] + [alias.name for alias in config.alias]
    identities = [one for _, one in table.by_hash.values()] + [*table.by_certificate.values(), table.anonymous]
    for identity in identities:
        for _, models in identity.grants:
            for name in sorted(models or ()):
                if name not in known:
                    near = get_close_matches(name, known, n=1)
                    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
                    yield f"service.token_file: {identity.name}: no model or alias is called {name!r}; {hint}"


def _is_near(address: str) -> bool:
    host, _ = split(address)
    return host == "localhost" or is_loopback(host)
