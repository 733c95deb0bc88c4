"""The shards of a model that are there, for whoever asks for one by its name, and states that they would pass over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from thalweg.memory.objects.objects import Objects, ObjectsUnavailable, ObjectsUnusable
from thalweg.ops.config.config import Config
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.config.model import ModelConfig
from thalweg.stream.shards.names import shard_name, shard_of

LIVE = "live"
"""The folder of published versions in the state folder, which is not created here."""
_SHOWN = 12


def must_be_one(config: Config, name: str, *, elsewhere: bool = False, asks: str = "expected one of them") -> None:
    """Raise ConfigurationError unless a name is that of a model without shards, or of a shard that is there.

    Args:
        config: The configuration.
        name: The name.
        elsewhere: Whether a shard of another host will do, which this one may know nothing of.
        asks: What precedes the shards of a model that has some.
    """
    model = config.find(name)
    if model.sharded is None:
        return
    shard, folder = shard_of(name), Path(config.service.state_dir)
    whole = name if shard is None else shard[0]
    here = _numbers(_names(folder) + _names(folder / LIVE), whole)
    if shard is not None and name == shard_name(*shard) and shard[1] in here:
        return
    url = config.service.state_url
    where = f"{folder.absolute()}" + (f" or {url}" if url else "")
    try:
        there = here | _numbers(Objects(url).folders() if url else [], whole)
    except (ObjectsUnavailable, ObjectsUnusable) as error:
        if shard is not None and elsewhere:
            return  # it may be there
        there, where = here, f"{folder.absolute()} ({error})"
    if shard is None:
        expected = f"{asks}: {_listed(whole, there)}" if there else f"none of them is in {where} yet"
        raise ConfigurationError(
            [f"model {whole!r} has [model.scale]: each of its shards has a state and snapshots of its own; {expected}"]
        )
    if name == shard_name(*shard) and (shard[1] in there or (elsewhere and not url and _shared(config))):
        return
    known = f"known: {_listed(whole, there)}" if there else "none of its shards is there"
    raise ConfigurationError([f"model {whole!r} has no shard {name!r} in {where}; {known}"])


def passed_over(config: Config, model: ModelConfig) -> str:
    """What a model would pass over and begin anew, as `[model.scale]` was put in or taken out; empty: nothing."""
    folder = Path(config.service.state_dir)
    if model.sharded is not None:
        if not (folder / model.name / "journal").exists():
            return ""
        return (
            f"model {model.name!r}: {folder / model.name} holds the state of all partitions together, and with "
            f"[model.scale] each begins anew: move the folder away, give the model another name, or take [model.scale] "
            f"out"
        )
    found = sorted(
        path.name
        for path in folder.glob(f"{model.name}~*")
        if shard_of(path.name) is not None and not _only_served(path)
    )
    if not found:
        return ""
    return (
        f"model {model.name!r}: {folder} holds states of its shards ({', '.join(found[:5])}), and without "
        f"[model.scale] it begins anew: move them away, give the model another name, or put [model.scale] back"
    )


def _only_served(folder: Path) -> bool:
    """Whether a folder holds nothing but what servers have counted of versions of other hosts."""
    found = list(folder.iterdir())
    return bool(found) and all(path.match("freshness-*.hours") for path in found)


def all_passed_over(config: Config) -> Iterator[str]:
    """The same of each model, for people who check a configuration."""
    for model in config.model:
        try:
            text = passed_over(config, model)
        except OSError:  # which is told with what was changed
            continue
        if text:
            yield text


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []


def _numbers(names: list[str], model: str) -> set[int]:
    """The numbers of a model's shards among names."""
    found = [shard_of(name) for name in names]
    return {
        one[1] for one, name in zip(found, names) if one is not None and one[0] == model and name == shard_name(*one)
    }


def _listed(model: str, numbers: set[int]) -> str:
    names = [shard_name(model, number) for number in sorted(numbers)]
    return ", ".join(names[:_SHOWN]) + (f", … ({len(names)} in all)" if len(names) > _SHOWN else "")


def _shared(config: Config) -> bool:
    """Whether commands reach the learners of other hosts."""
    return config.store.url.partition(":")[0] not in ("sqlite", "memory")
