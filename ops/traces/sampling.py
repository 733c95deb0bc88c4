"""Which traces are recorded, as `OTEL_TRACES_SAMPLER` says: decided before anything is made, so that what is not
recorded costs next to nothing."""

from __future__ import annotations

import random
from collections.abc import Mapping

import structlog

from thalweg.stream.traces.context import TraceContext

log = structlog.get_logger(__name__)

SAMPLER, ARGUMENT = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
_ROOTS = ("always_on", "always_off", "traceidratio")
KNOWN = (*_ROOTS, *(f"parentbased_{name}" for name in _ROOTS))
_DEFAULT = "parentbased_always_on"
_LOW = (1 << 64) - 1  # the part of a trace id that a ratio is taken of


class Sampling:
    """The decision for each trace. Thread-safe.

    Args:
        environment: Environment variables; a value that is not known is told, and is as the default.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        name = environment.get(SAMPLER, "").strip().lower() or _DEFAULT
        if name not in KNOWN:
            log.warning(f"{SAMPLER}: expected one of {', '.join(KNOWN)}, got {name!r}; {_DEFAULT} is used instead")
            name = _DEFAULT
        self._by_parent, root = name.startswith("parentbased_"), name.removeprefix("parentbased_")
        share = _share(environment.get(ARGUMENT, "")) if root == "traceidratio" else float(root == "always_on")
        self._share, self._bound = share, round(share * (1 << 64))

    def root(self) -> bool:
        """Whether a trace that begins here is recorded."""
        return self._share >= 1 or (self._share > 0 and random.random() < self._share)

    def below(self, parent: TraceContext) -> bool:
        """Whether spans below this one are recorded."""
        return parent.sampled if self._by_parent else parent.trace_id & _LOW < self._bound


def _share(given: str) -> float:
    try:
        share = float(given) if given.strip() else 1.0
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        log.warning(f"{ARGUMENT}: expected a number from 0 to 1, got {given!r}; 1 is used instead")
        return 1.0
    return share
