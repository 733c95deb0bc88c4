"""How the models of an alias stand, as HTTP, page, metrics and the command line show it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from thalweg.stream.comparison.comparison import ChallengerTest
from thalweg.stream.comparison.comparison_file import ComparisonReport, read_comparison
from thalweg.stream.journal.promotions import Promotion

log = structlog.get_logger(__name__)

MOST_SHOWN = 20
"""Promotions shown, the newest."""


class ComparisonFile:
    """An alias's comparison, read again when its file has changed. Any thread may call `read`.

    Args:
        path: The file; None: the alias promotes by hand alone.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._read: tuple[int, ComparisonReport | None] = (-1, None)

    def read(self) -> ComparisonReport | None:
        """The comparison; None if there is none, or it cannot be read."""
        if self._path is None:
            return None
        known = self._read
        try:
            changed = self._path.stat().st_mtime_ns
            if changed != known[0]:
                known = self._read = changed, read_comparison(self._path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("the comparison of an alias cannot be read", problem=str(error))
        return known[1]


def standing(
    name: str, members: Sequence[str], promotions: Sequence[Promotion], report: ComparisonReport | None, *, auto: bool
) -> dict[str, Any]:
    """As JSON values; `comparison` only where the alias promotes by a test.

    Args:
        name: The alias.
        members: Its models.
        promotions: All of them, oldest first; at least the first champion.
        report: Its comparison, if it has begun.
        auto: Whether it promotes by a test.
    """
    newest = promotions[-1]
    found: dict[str, Any] = {
        "name": name,
        "champion": newest.champion,
        "models": list(members),
        "promotion": newest.number,
        "promoted": newest.time or None,
        "cause": newest.cause,
        "auto": auto,
        "promotions": [_told(one) for one in promotions[-MOST_SHOWN:]],
    }
    if auto:
        found["comparison"] = None  # until the first events are compared
    if auto and report is not None:
        comparison = report.comparison
        found["comparison"] = {
            "alpha": comparison.alpha,
            "loss": report.loss,
            "waits": report.waits or None,
            "held": report.held or None,
            "left_out": dict(report.left_out),
            "challengers": [challenger(test) for test in comparison.tests],
        }
    return found


def challenger(test: ChallengerTest) -> dict[str, Any]:
    """A challenger's test, as JSON values."""
    return {
        "model": test.challenger,
        "compared_events": test.compared,
        "unanswered_events": test.unanswered,
        "test_events": test.sums.events,
        "loss_difference": test.sums.mean,
        "evidence": evidence(test),
        "alpha": test.alpha,
        "ended_tests": test.ended,
    }


def evidence(test: ChallengerTest) -> float:
    """The evidence for the challenger on a scale of logarithms: 0 is none, 1 promotes it."""
    return max(0.0, test.sums.log_evidence) / test.log_needed


def _told(one: Promotion) -> dict[str, Any]:
    told: dict[str, Any] = {
        "number": one.number,
        "champion": one.champion,
        "cause": one.cause,
        "time": one.time or None,
    }
    if isinstance(known := one.evidence, Mapping):
        sums = known.get("sums", {})
        events = sums.get("events", 0)
        told["evidence"] = {
            "events": events,
            "loss_difference": sums.get("total", math.nan) / events if events else None,
            "evidence": math.exp(min(known.get("log_evidence", 0.0), 700.0)),
            "needed": math.exp(min(known.get("log_needed", 0.0), 700.0)),
            "place": known.get("place"),
            "offset": known.get("offset"),
        }
    return told
