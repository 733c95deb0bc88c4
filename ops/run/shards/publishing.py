"""What a shard of a merged model hands on, and what its states have in common with those of its siblings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thalweg.models.contract.learner import Learner
from thalweg.ops.config.model import ModelConfig
from thalweg.stream.merging.publisher import ShardPublisher
from thalweg.stream.shards.params import ScaleParams


def merges(model: ModelConfig) -> bool:
    """Whether the shards of a model, or of a shard's model, are merged."""
    return model.sharded is not None and model.sharded.answers == "merge"


def shard_publisher(
    shard: ModelConfig, learner: Learner, live: Path, owner: Mapping[str, Any] | None = None
) -> ShardPublisher:
    """The publisher of a shard, instead of `FilePublisher`, where shards are merged.

    Args:
        shard: The model as its shard, with its name.
        learner: The learner of the shard, as `new_learner` makes it.
        live: The live folder.
        owner: Further meta, of this shard's owner alone.
    """
    return ShardPublisher(live / shard.name, learner, merge_seconds(shard), {**noted(shard), **(owner or {})})


def merge_seconds(model: ModelConfig) -> float:
    """Of `[model.scale]`."""
    return (model.scale or ScaleParams()).merge_seconds


def noted(model: ModelConfig) -> dict[str, Any]:
    """Meta that the states of all shards of a model have in common, and no state of another one."""
    return {"settings_sha256": model.identity_sha256(), **model.layouts()}
