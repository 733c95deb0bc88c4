"""Constructs what merges the shards of a model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from pathlib import Path

from thalweg.ops.config.config import Config
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.app import new_learner
from thalweg.ops.run.shards.publishing import merge_seconds, noted
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.merging.folders import FolderShards
from thalweg.stream.merging.merger import Merger

COMPONENT = "merger"


def build_merger(
    config: Config,
    model: ModelConfig,
    live: Path,
    registry: HealthRegistry,
    *,
    stopping: threading.Event | None = None,
    partitions: Callable[[], Collection[int]] = tuple,
) -> Merger:
    """What merges the shards of a model with `[model.scale] answers = "merge"`, to be run in a supervised thread.

    Args:
        config: The configuration.
        model: The model, not one of its shards.
        live: The live folder: the shards are read there, in `M~P`, and the model is published in `M`.
        registry: Where its health is registered, as `merger` of the model.
        stopping: Set: it ends.
        partitions: The numbers of the partitions of its topic, where that is known: a shard that has published nothing
            is named. Called several times a second.
    """
    return Merger(
        lambda: new_learner(model),
        FolderShards(live, model.name),
        live / model.name,
        merge_seconds(model),
        registry.register(COMPONENT, model.name, silent_seconds=config.service.silent_seconds),
        stopping,
        partitions,
        noted(model),
    )
