"""Names of shards: the shard of model `clicks` for partition 3 of its topic is `clicks~3`."""

from __future__ import annotations

import re

_SHARD = re.compile(r"(.+)~([0-9]{1,9})", re.ASCII)


def shard_name(model: str, partition: int) -> str:
    """The name of a model's shard: of its folder, its health and its metrics. No model can be called so."""
    return f"{model}~{partition}"


def shard_of(name: str) -> tuple[str, int] | None:
    """Model and partition of a shard's name; None for the name of anything else."""
    found = _SHARD.fullmatch(name)
    return None if found is None else (found[1], int(found[2]))


def model_of(name: str) -> str:
    """The model that a name belongs to: of a shard, the model whose shard it is; of anything else, the name itself."""
    found = shard_of(name)
    return name if found is None else found[0]
