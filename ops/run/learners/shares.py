"""Which learner process has which models, when a service has several (`service.learners`).

A function of the configuration alone: every process comes to the same answer by itself. No state belongs to the number
of a process, so the number of processes may change from one run to the next.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from thalweg.ops.config.files.reading import read_table
from thalweg.ops.telemetry.process_health import learner_role

if TYPE_CHECKING:  # the supervisor has no use for what a configuration needs
    from thalweg.ops.config.config import Config

SETTING = "THALWEG_SERVICE__LEARNERS"
ROLE_SETTING = "THALWEG_SERVICE__ROLE"


def process_count(learners: int, models: int, *, scaled: bool = False) -> int:
    """How many learner processes there are: a process without a model would have nothing to do.

    Args:
        learners: `service.learners`.
        models: How many models the configuration has.
        scaled: Whether one of them has `[model.scale]`, in a log with groups, and so a place in every process.
    """
    return learners if scaled else max(1, min(learners, models))


def homes(config: Config) -> dict[str, tuple[int, ...]]:
    """The numbers, from 1, of the processes that have each model.

    The models of the configuration go to the processes in turn. The versions of a model that was changed (`NAME@2`)
    stay together, and with them the joiner of their labels. A model with `[model.scale]` in Kafka is in every process:
    its group says which of them has which shard.
    """
    count = _count(config)
    names = dict.fromkeys(model.served_name for model in config.model)
    place = {name: (1 + number % count,) for number, name in enumerate(names)}
    every = tuple(range(1, count + 1))
    shared = has_groups(config.log.url)
    return {
        model.name: every if shared and model.scale is not None else place[model.served_name] for model in config.model
    }


def has_groups(log_url: str) -> bool:
    """Whether several processes can share the partitions of a topic of this log: the embedded one has one partition."""
    return log_url.startswith("kafka:")


def _count(config: Config) -> int:
    names = {model.served_name for model in config.model}
    scaled = has_groups(config.log.url) and any(model.scale is not None for model in config.model)
    return process_count(config.service.learners, len(names), scaled=scaled)


def home_of_alias(config: Config, alias: str) -> int:
    """The number of the process that compares the models of an alias: that of its first champion."""
    return homes(config)[config.find_alias(alias).champion][0]


def share_lines(config: Config) -> Iterator[str]:
    """What several learner processes have, for `thalweg check`, as comments of TOML."""
    learners, found = config.service.learners, homes(config)
    if learners == 1:
        return
    count = _count(config)
    yield ""
    fewer = f", not {learners}: there {'is' if count == 1 else 'are'} no more models" if count < learners else ""
    yield f"# Learner processes: {count}{fewer}."
    for number in range(1, count + 1):
        yield f"# {learner_role(number)}: {', '.join(name for name, places in found.items() if number in places)}"


def several(path: Path, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a configuration has several learner processes, as far as that can be told before it is validated."""
    if SETTING in environment:
        return environment[SETTING].strip() not in ("", "1")
    try:
        service = read_table(path).get("service", {}) if path.is_file() else {}
    except (OSError, ValueError):
        return False  # its validation says what is wrong
    return isinstance(service, dict) and service.get("learners", 1) != 1
