"""What surrounds a service and is easily overlooked: variables that set nothing, folders that a reboot empties."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from thalweg.models.parts.settings import Settings, keys_of
from thalweg.ops.config.config import Config
from thalweg.ops.config.environment import PREFIX
from thalweg.ops.config.sections import LogConfig, ServiceConfig, StoreConfig

_SECTIONS: dict[str, type[Settings]] = {"service": ServiceConfig, "log": LogConfig, "store": StoreConfig}
_TABLES = {"log": ("kafka", "registry")}
_SLIPS = {"THALWEG_SECRET_DIR": "THALWEG_SECRETS_DIR"}
_MOUNTS = Path("/proc/self/mountinfo")
_IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")


def overlooked_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """For people: variables that look like a key and set none, as two underscores stand between a table and its key.

    Others that begin alike are not meant: an orchestrator has such for a service of this name (`THALWEG_SERVICE_HOST`).
    """
    for name in sorted(environment):
        if name in _SLIPS:
            yield f"the environment variable {name} sets nothing; did you mean {_SLIPS[name]}?"
        section, _, key = name.upper().removeprefix(PREFIX).lower().partition("_")
        if not name.upper().startswith(PREFIX) or section not in _SECTIONS:
            continue
        nested = next((table for table in _TABLES.get(section, ()) if key.startswith(f"{table}_")), "")
        single = not key.startswith("_") and (key.partition("__")[0] in keys_of(_SECTIONS[section]) or nested)
        if single or not name.startswith(PREFIX):
            inner = f"{nested}__{key.removeprefix(nested).lstrip('_')}" if nested else key.lstrip("_")
            meant = f"{PREFIX}{section.upper()}__{inner.upper()}"
            yield f"the environment variable {name} sets nothing; did you mean {meant}?"


def lost_at_reboot(config: Config, mounts: Path = _MOUNTS) -> Iterator[str]:
    """For people: what is to be kept, and lies in memory. `mounts`: where the system lists file systems."""
    places = {} if config.service.state_url else {"service.state_dir": Path(config.service.state_dir)}
    for key, url in (("log.url", config.log.url), ("store.url", config.store.url)):
        if url.startswith("sqlite:"):
            places[key] = Path(url.removeprefix("sqlite:")).parent
    try:
        listed = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # another system
        return
    found: dict[Path, str] = {}
    for line in listed:
        before, _, after = line.partition(" - ")
        found[Path(before.split(" ")[4].replace(r"\040", " "))] = after.split(" ")[0]  # the last one covers others
    for key, place in places.items():
        whole = place.resolve()
        mount = next((one for one in (whole, *whole.parents) if one in found), None)
        if mount is not None and found[mount] in _IN_MEMORY:
            yield f"{key}: {whole} is in memory ({found[mount]} at {mount}): a restart of the machine loses it"
