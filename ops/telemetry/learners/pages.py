"""The pages of metrics of several processes as one page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from thalweg.ops.telemetry.learners.processes import LearnerProcesses

_LEARNER = re.compile(r"metrics-(learner(?:-[0-9]+)?)\.prom", re.ASCII)
_MODEL = re.compile(rb'model_name="((?:[^"\\]|\\.)*)"')
_ADD_UP = (b"counter", b"histogram")


def metrics_page(live: Path, role: str) -> Path:
    """The page of the learner process that is called so."""
    return live / f"metrics-{role}.prom"


def learner_pages(live: Path, learners: LearnerProcesses | None) -> list[bytes]:
    """The pages of other processes in the live folder, the newest first.

    Pages of learner processes that there are no more, and what a page has of models that its process has no more, are
    left from another run.
    """
    roles = learners.by_role() if learners is not None else {}
    found = []
    for path in live.glob("metrics-*.prom"):
        with suppress(OSError):  # it is being replaced
            written = path.stat().st_mtime_ns
            named = _LEARNER.fullmatch(path.name)
            if named is not None and learners is not None and named[1] not in roles:
                continue
            page = path.read_bytes()
            if named is not None and learners is not None and len(roles) > 1:
                page = _of_its_models(page, named[1], learners)
            found.append((-written, path.name, page))
    return [page for *_, page in sorted(found)]


def _of_its_models(page: bytes, role: str, learners: LearnerProcesses) -> bytes:
    known: dict[bytes, bool] = {}
    lines = []
    for line in page.splitlines():
        model = None if line.startswith(b"#") else _MODEL.search(line)
        if model is not None and (has := known.get(model[1])) is None:
            has = known[model[1]] = learners.has(role, model[1].decode(errors="replace"))
        if model is None or has:
            lines.append(line)
    return b"\n".join([*lines, b""])


def merged(pages: Sequence[bytes]) -> bytes:
    """Merge pages: each family's samples together, with HELP and TYPE once, from the first page.

    A series of several pages is that of a shard that several processes have had: what they counted is added up, and a
    gauge is that of the first page.
    """
    heads: dict[bytes, list[bytes]] = {}
    kinds: dict[bytes, bytes] = {}
    samples: dict[bytes, dict[bytes, bytes]] = {}
    for text in pages:
        name, known = b"", True
        for line in text.splitlines():
            if line.startswith(b"# HELP "):
                name = line.split(b" ", 3)[2]
                known = name in heads
            if not line.startswith(b"#"):
                series, _, value = line.rpartition(b" ")
                of_family = samples.setdefault(name, {})
                if (before := of_family.get(series)) is None:
                    of_family[series] = value
                elif kinds.get(name) in _ADD_UP:
                    of_family[series] = _sum(before, value)
            elif not known:
                heads.setdefault(name, []).append(line)
                if line.startswith(b"# TYPE "):
                    kinds[name] = line.rpartition(b" ")[2]
    return b"".join(
        b"\n".join([*lines, *(series + b" " + value for series, value in samples.get(name, {}).items()), b""])
        for name, lines in heads.items()
    )


def _sum(one: bytes, other: bytes) -> bytes:
    with suppress(ValueError):  # of no release of ours
        return repr(float(one) + float(other)).encode()
    return one
