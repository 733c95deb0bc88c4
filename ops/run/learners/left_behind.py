"""States of models that the configuration does not have any more: removed, or renamed and about to begin anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from thalweg.ops.config.config import Config
from thalweg.stream.shards.names import family_of

_SET_ASIDE = ".superseded-"


def states_left_behind(config: Config) -> Iterator[str]:
    """For people: each state in the state folder that no model has, and which models it may be the state of.

    Told when learners start, before a model that was renamed learns its topic anew.
    """
    folder = Path(config.service.state_dir)
    try:
        there = sorted({family_of(one.name) for one in folder.iterdir() if _has_state(one)})
    except OSError:  # not there yet
        return
    names = {model.name for model in config.model}
    left = [name for name in there if name not in names]
    new = [model.name for model in config.model if model.name not in there]
    for name in left:
        line = f"service.state_dir: {folder / name} is the state of {name!r}, which is no model here"
        if new:
            line += (
                f"; if {' or '.join(map(repr, new))} is the same model by another name, stop the service and rename "
                "the folder: otherwise it learns its topic from where a new model begins"
            )
        yield f"{line}; delete it if nobody needs it"


def _has_state(folder: Path) -> bool:
    if folder.name.startswith(".") or _SET_ASIDE in folder.name:
        return False
    return (folder / "journal").is_dir() or any(folder.glob("[0-9]*/manifest.json"))
