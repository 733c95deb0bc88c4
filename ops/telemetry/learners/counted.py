"""What the process before this one had counted, from its page: counters go on after a restart."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

_SAMPLE = re.compile(r"(\w+)\{(.*)\} (\S+)", re.ASCII)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"', re.ASCII)
_KINDS = {"counter", "histogram"}


class Counted(NamedTuple):
    """One sample of a counter or histogram."""

    name: str
    """As on the page: of a histogram with `_bucket`, `_sum` or `_count`."""
    labels: Mapping[str, str]
    """Without `model_name`."""
    value: float


def counted_before(page: Path) -> dict[str, list[Counted]]:
    """By model, what a page has of counters and histograms; nothing where there is no page, or one that is damaged."""
    try:
        lines = page.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return {}
    found: dict[str, list[Counted]] = {}
    for model, one in _samples(lines):
        found.setdefault(model, []).append(one)
    return found


def _samples(lines: list[str]) -> Iterator[tuple[str, Counted]]:
    kind = ""
    for line in lines:
        if line.startswith("# TYPE "):
            kind = line.rpartition(" ")[2]
        elif kind in _KINDS and (sample := _SAMPLE.fullmatch(line)) is not None:
            labels: dict[str, Any] = dict(_LABEL.findall(sample[2]))
            try:
                yield labels.pop("model_name"), Counted(sample[1], labels, float(sample[3]))
            except (KeyError, ValueError):  # of an earlier release
                continue
