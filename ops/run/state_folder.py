"""Whether the state folder is still where a process found it, and whether it is the one of before."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from thalweg.memory.kept_folders import FolderElsewhere, folder_id, must_be
from thalweg.ops.config.config import Config
from thalweg.ops.serve.readiness import STATE_FOLDER
from thalweg.stream.health.probe import Probe
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.publication.state_before import begun_anew, must_not_be_away, other_before


def state_folder_probe(state_dir: str, registry: HealthRegistry) -> Probe:
    """Looks at it from time to time; `state_dir`: that of the service, which is there."""
    folder = Path(state_dir)
    ask = partial(must_be, folder, folder_id(folder))
    health = registry.register(STATE_FOLDER)
    return Probe("the state folder", ask, health, hopeless=(OSError,), remark=partial(begun_anew, folder))


def to_begin_anew(config: Config) -> Iterator[str]:
    """For people, before a start: that the folder is not there which was there before, or which a service uses."""
    folder = Path(config.service.state_dir)
    try:
        must_not_be_away(folder)
    except FolderElsewhere as error:
        yield f"service.state_dir: {error}"
        return
    if other_before(folder):
        yield (
            f"service.state_dir: another folder was at {folder} before, and now there is no state: every model would "
            "begin anew; put it back first, if that is not meant"
        )
