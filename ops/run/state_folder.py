"""Whether the state folder is still where a process found it, for its health."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from thalweg.memory.kept_folders import folder_id, must_be
from thalweg.ops.serve.readiness import STATE_FOLDER
from thalweg.stream.health.probe import Probe
from thalweg.stream.health.registry import HealthRegistry


def state_folder_probe(state_dir: str, registry: HealthRegistry) -> Probe:
    """Looks at it from time to time; `state_dir`: that of the service, which is there."""
    folder = Path(state_dir)
    ask = partial(must_be, folder, folder_id(folder))
    return Probe("the state folder", ask, registry.register(STATE_FOLDER), hopeless=(OSError,))
