"""Constructs what merges the shards of a model, and what a shard hands on to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from thalweg.models.contract.layouts import KEY as LAYOUTS
from thalweg.models.contract.learner import Learner
from thalweg.ops.config.config import Config
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.app import new_learner
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.merging.folders import FolderShards
from thalweg.stream.merging.merger import Merger
from thalweg.stream.merging.publisher import ShardPublisher
from thalweg.stream.shards.params import ScaleParams

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
        _scale(model).merge_seconds,
        registry.register(COMPONENT, model.name, silent_seconds=config.service.silent_seconds),
        stopping,
        partitions,
        _noted(model),
    )


def shard_publisher(shard: ModelConfig, learner: Learner, live: Path) -> ShardPublisher:
    """The publisher of a shard, instead of `FilePublisher`, where shards are merged.

    Args:
        shard: The model as its shard, with its name.
        learner: The learner of the shard, as `new_learner` makes it.
        live: The live folder.
    """
    return ShardPublisher(live / shard.name, learner, _scale(shard).merge_seconds, _noted(shard))


def _scale(model: ModelConfig) -> ScaleParams:
    return model.scale or ScaleParams()


def _noted(model: ModelConfig) -> dict[str, Any]:
    """What the states of all shards of a model have in common, and no state of another one."""
    layouts = model.layouts()
    return {"settings_sha256": model.identity_sha256(), **({LAYOUTS: layouts} if layouts else {})}
