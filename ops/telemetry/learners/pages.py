"""The pages of metrics of several processes as one page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

_LEARNER = re.compile(r"metrics-(learner(?:-[0-9]+)?)\.prom", re.ASCII)


def metrics_page(live: Path, role: str) -> Path:
    """The page of the learner process that is called so."""
    return live / f"metrics-{role}.prom"


def learner_pages(live: Path, roles: Iterable[str]) -> list[bytes]:
    """The pages of other processes in the live folder, the newest first.

    Those of learner processes other than the given ones are left from a time when there were more of them.
    """
    wanted, found = set(roles), []
    for path in live.glob("metrics-*.prom"):
        with suppress(OSError):  # it is being replaced
            written = path.stat().st_mtime_ns
            if (named := _LEARNER.fullmatch(path.name)) is None or named[1] in wanted:
                found.append((-written, path.name, path.read_bytes()))
    return [page for *_, page in sorted(found)]


def merged(pages: Sequence[bytes]) -> bytes:
    """Merge pages: each family's samples together, with HELP and TYPE once, from the first page.

    A series of two pages is that of the first: the other is left from a time when its process had the model.
    """
    heads: dict[bytes, list[bytes]] = {}
    samples: dict[bytes, dict[bytes, bytes]] = {}
    for text in pages:
        name, known = b"", True
        for line in text.splitlines():
            if line.startswith(b"# HELP "):
                name = line.split(b" ", 3)[2]
                known = name in heads
            if not line.startswith(b"#"):
                samples.setdefault(name, {}).setdefault(line.rpartition(b" ")[0], line)
            elif not known:
                heads.setdefault(name, []).append(line)
    return b"".join(b"\n".join([*lines, *samples.get(name, {}).values(), b""]) for name, lines in heads.items())
