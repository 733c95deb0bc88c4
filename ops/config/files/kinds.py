"""Files where a folder is expected, folders where a file is, and what this process may not use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from thalweg.ops.config.config import Config
from thalweg.ops.run.resources.ownership import may_not_be_written


def wrong_kinds(config: Config) -> Iterator[str]:
    """One line for each setting whose path leads to nothing that can be used or made: whoever looks, it stays so."""
    for setting, folder in _folders(config).items():
        if told := no_folder(folder):
            yield f"{setting}: expected a folder, or a path where one can be made, got {folder}: {told}"
    for setting, file in _databases(config).items():
        if _is_folder(file):
            meant = f"sqlite:{file / _usual(setting)}"
            yield f"{setting}: expected a file, got {file}: it is a folder; did you mean {meant}?"
        elif told := no_folder(file.parent, file):
            yield f"{setting}: expected a file in a folder, got {file}: {told}"
        elif _is_link(file) and not Path(os.path.realpath(file)).parent.is_dir():
            to = file.readlink()
            yield f"{setting}: expected a file, got {file}: it is a link to {to}, whose folder is not there"
    for model in config.model:
        if model.history and _is_folder(Path(model.history)):
            yield f"model.{model.name}.history: expected a file, got {model.history}: it is a folder"


def not_usable(config: Config) -> Iterator[str]:
    """For people: what a service could not use if this user ran it here; another user may run it, on another host."""
    for setting, folder in _folders(config).items():
        if told := may_not_be_written(folder):
            yield f"{setting}: {told}"
    for setting, file in _databases(config).items():
        if told := may_not_be_written(file.parent) or (may_not_be_written(file) if _exists(file) else ""):
            yield f"{setting}: {told}"
    for model in config.model:
        folder = Path(config.service.state_dir) / model.name
        if told := no_folder(folder):
            yield f"model.{model.name}: expected a folder for its state, got {folder}: {told}"
        elif model.history and not (_exists(folder) or _exists(Path(model.history))):
            yield f"model.{model.name}.history: there is no file {model.history}, with which the model is to begin"


def _folders(config: Config) -> dict[str, Path]:
    found = {"service.state_dir": Path(config.service.state_dir)}
    if config.service.state_url.startswith("file:"):
        found["service.state_url"] = Path(config.service.state_url.removeprefix("file:").removeprefix("//"))
    return found


def _databases(config: Config) -> dict[str, Path]:
    urls = {"log.url": config.log.url, "store.url": config.store.url}
    return {key: Path(url.removeprefix("sqlite:")) for key, url in urls.items() if url.startswith("sqlite:")}


def _usual(setting: str) -> str:
    return f"{setting.partition('.')[0]}.db"


def no_folder(place: Path, given: Path | None = None) -> str:
    """Why there is, and can be, no folder at a path; empty if there is one or nothing is in its way. `given`: the path
    that is known to whoever reads it, if it is not this one.
    """
    for one in (place, *place.parents):
        what = "it" if one == (given or place) else str(one)
        if _is_folder(one):
            return ""
        if _is_link(one):
            return f"{what} is a link to {one.readlink()}, which leads nowhere"
        if _exists(one):
            return f"{what} is a file"
    return ""


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # what is in a folder that may not be entered
        return False


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:
        return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False
