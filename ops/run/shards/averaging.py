"""What a shard by key averages its parameters with, and what its versions say so that others may use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.shards.publishing import noted
from thalweg.stream.averaging.averaging import Averaging
from thalweg.stream.merging.folders import FolderShards
from thalweg.stream.shards.names import shard_of


def averages(model: ModelConfig) -> bool:
    """Whether this is a shard that averages parameters with others."""
    return shard_of(model.name) is not None and model.scale is not None and model.scale.average_every > 0


def siblings_of(shard: ModelConfig, live: Path) -> Averaging | None:
    """What it averages them with; None: it does not.

    Args:
        shard: The model as its shard, with its name.
        live: The live folder, where versions of the other shards are, its own and those of other hosts.
    """
    found = shard_of(shard.name)
    if found is None or shard.scale is None or not averages(shard):
        return None
    return Averaging(FolderShards(live, found[0]), found[1], shard.scale.average_every, noted(shard))


def averaging_meta(model: ModelConfig) -> dict[str, Any]:
    """Further meta of its versions: under which settings they were made, where others average theirs with them."""
    return noted(model) if averages(model) else {}
