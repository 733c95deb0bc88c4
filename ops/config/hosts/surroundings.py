"""What surrounds a service and is easily overlooked: variables that set nothing, folders that a reboot empties."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from thalweg.models.parts.settings import Settings, keys_of
from thalweg.ops.config.config import Config
from thalweg.ops.config.environment import PREFIX, plain_name
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.config.sections import LogConfig, ServiceConfig, StoreConfig

_SECTIONS: dict[str, type[Settings]] = {"service": ServiceConfig, "log": LogConfig, "store": StoreConfig}
_TABLES = {"log": ("kafka", "registry")}
_SLIPS = {"secret_dir": "SECRETS_DIR"}
_MOUNTS = Path("/proc/self/mountinfo")
_IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")


def overlooked_variables(environment: Mapping[str, str], models: Sequence[str] = ()) -> Iterator[str]:
    """For people: variables that look like a key and set none, as two underscores stand between a table and its key.

    Others that begin alike are not meant: an orchestrator has such for a service of this name (`THALWEG_SERVICE_HOST`).

    Args:
        environment: Variables by name.
        models: The names of the models.
    """
    for name in sorted(environment):
        if name.upper().startswith(PREFIX) and (meant := _meant(name, models)):
            places = " or ".join(PREFIX + one for one in meant)
            yield f"the environment variable {name} sets nothing; did you mean {places}?"


def _meant(name: str, models: Sequence[str]) -> list[str]:
    """What may have been meant by a variable that sets nothing, without the prefix; nothing for one that does, and for
    one that is no key.
    """
    bare = name.upper().removeprefix(PREFIX).lower()
    section, _, key = bare.partition("_")
    found = [_SLIPS[bare]] if bare in _SLIPS else []
    if section in _SECTIONS:
        nested = next((table for table in _TABLES.get(section, ()) if key.startswith(f"{table}_")), "")
        single = not key.startswith("_") and (key.partition("__")[0] in keys_of(_SECTIONS[section]) or nested)
        if single or not name.startswith(PREFIX):
            inner = f"{nested}__{key.removeprefix(nested).lstrip('_')}" if nested else key.lstrip("_")
            found.append(f"{section}__{inner}".upper())
    elif section == "model" and not key.startswith("_"):
        for model in models:
            _, itself, of_model = key.partition(f"{plain_name(model)}_")
            if itself and key.startswith(itself) and of_model.lstrip("_") in keys_of(ModelConfig):
                found.append(f"MODEL__{plain_name(model)}__{of_model.lstrip('_').upper()}")
    else:
        found += [f"{one}__{bare}".upper() for one, kind in _SECTIONS.items() if bare in _own_keys(one, kind)]
    return found


def _own_keys(section: str, kind: type[Settings]) -> set[str]:
    return {*keys_of(kind)} - {*_TABLES.get(section, ())}


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
