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


def family_of(name: str) -> str:
    """The name that clients use: of a successor `NAME@2` or a shard `NAME~3`, `NAME`."""
    shard = shard_of(name)
    return (name if shard is None else shard[0]).partition("@")[0]
