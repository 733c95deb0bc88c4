"""What the processes of a service must share."""

from __future__ import annotations

from collections.abc import Iterator

from thalweg.ops.config.config import Config


def unshared(config: Config) -> Iterator[str]:
    """One line for each thing that every process would have for itself: what one appends, no other would read."""
    for name, what, instead in (
        ("log", "an event that a server acknowledges would never be learned", "sqlite:PATH or kafka://HOST:PORT"),
        ("store", "labels and commands would never reach the learner", "sqlite:PATH or redis://HOST:PORT/DB"),
    ):
        if getattr(config, name).url == "memory:":
            yield (
                f"{name}.url: 'memory:' is within one process, and a service has several: {what}; expected {instead}"
            )
