"""What a model's state takes as soon as it is made, for `thalweg check`: before it takes the machine by surprise."""

from __future__ import annotations

from collections.abc import Iterator

import structlog

from thalweg.models.contract.capabilities import GrowingState, capability
from thalweg.models.contract.learner import ParamsError
from thalweg.ops.config.config import Config
from thalweg.ops.run.app import new_learner

log = structlog.get_logger(__name__)

COPIES = 4
"""Of a state, about, at their most: the learner, the frozen baseline, a snapshot while it is saved, work space."""
LARGE_BYTES = 256 << 20
"""A state beyond this is warned of."""


def memory_lines(config: Config) -> Iterator[str]:
    """A line for each model, as comments of TOML; a state that is large is also a warning in the log.

    It is the state of a learner that has learned nothing, or what that says that it becomes; so a lower bound: classes,
    keys and memories add to it, each up to a bound among the parameters.
    """
    yield ""
    yield "# Memory, at least: the state of a new learner, and with all copies of it. It grows with classes and keys."
    for model in config.model:
        try:
            learner = new_learner(model, looked_at=True)
            growing = capability(learner, GrowingState)
            size = max(learner.state().size_bytes, 0 if growing is None else growing.grown_bytes)
        except (ParamsError, MemoryError, OSError, ValueError) as error:
            yield f"# {model.name}: unknown: {type(error).__name__}: {error!s:.200}".replace("\n", " ")
            continue
        yield f"# {model.name}: {_sized(size)}, {_sized(COPIES * size)}"
        if size > LARGE_BYTES:
            log.warning(
                "a large state: the service takes several times as much; snapshots and publishing slow down",
                model=model.name,
                state=_sized(size),
                with_copies=_sized(COPIES * size),
            )


def _sized(size: int) -> str:
    return f"{size / 1e3:,.1f} kB" if size < 1e6 else f"{size / 1e6:,.1f} MB"
