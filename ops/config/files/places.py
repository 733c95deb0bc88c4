"""Paths in a configuration: what none may be, and the folder that relative ones are in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thalweg.memory.audit import FILE, FILE_OF_REFUSED
from thalweg.memory.objects.objects import plain_url
from thalweg.models.parts.settings import Mistake, Place

OF_SERVICE = ("state_dir", "state_url", "token_file", "tls_certificate", "tls_key", "tls_client_ca")
_OF_MODEL = ("history", "weights", "encoder")
_OF_PARAMS = ("weights", "key_file")
_BEFORE_PATHS = ("sqlite:", "file://", "file:", "onnx:", "hf:")
_AUDIT = re.compile("|".join(rf"{re.escape(Path(file).stem)}(\.\d+)?\.jsonl" for file in (FILE, FILE_OF_REFUSED)))
"""Names in the state folder, also those of files that were full."""
_OF_A_DATABASE = ("", "-wal", "-shm", "-journal")
"""What the names of SQLite's files for one database end with."""

ONE_FOLDER = "some file systems have one folder for both"


def same_but_for_case(name: object, names: Iterable[object]) -> str | None:
    """The first of the names that is this one but for upper and lower case; None if there is none."""
    if not isinstance(name, str):
        return None
    others = (one for one in names if isinstance(one, str) and one != name)
    return next((one for one in others if one.casefold() == name.casefold()), None)


def place_mistakes(table: Mapping[str, Any]) -> Iterator[Mistake]:
    """Paths that begin with `~`, which stands for a folder in a shell alone; models whose folder would be a file."""
    for place, text in _paths(table):
        path = path_of(text)
        if path == "~" or path.startswith("~/"):
            home = f", such as {text.replace('~', str(Path.home()), 1)}" if _has_home() else ""
            yield Mistake(place, f"`~` is no folder here: expected a whole path{home}, got {text!r}")
    yield from _one_place_for_two(table)
    state, files = _state_dir(table), dict[str, str]()
    for section, file in _databases(table).items():
        if file.parent == state:
            files |= {f"{file.name}{end}".lower(): f"{section}.url" for end in _OF_A_DATABASE}
    models = table.get("model", [])
    for number, model in enumerate(models if isinstance(models, list) else []):
        name = model.get("name") if isinstance(model, dict) else None
        if not isinstance(name, str):
            continue
        if known := "the audit log" if _AUDIT.fullmatch(name.lower()) else files.get(name.lower(), ""):
            yield Mistake(("model", number, "name"), f"{name!r} is a file of the state folder already: {known}")


def _one_place_for_two(table: Mapping[str, Any]) -> Iterator[Mistake]:
    """Files and folders that two settings name, however each is spelled: each would write over the other."""
    state, databases = _state_dir(table), _databases(table)
    if (given := _section(table, "service").get("state_dir")) is not None and not str(given).strip():
        yield Mistake(("service", "state_dir"), f"expected a folder, got {given!r}; `.` is the working directory")
    log, store = databases.get("log"), databases.get("store")
    if log is not None and store is not None and (end := _of_database(store, log)) is not None:
        which = "the file of the log" if not end else f"the {end} file of the log"
        yield Mistake(("store", "url"), f"expected a file of its own, got {which}, log.url: {str(log)!r}")
    elif log is not None and store is not None and (end := _of_database(log, store)):
        yield Mistake(("log", "url"), f"expected a file of its own, got the {end} file of store.url: {str(store)!r}")
    url = _section(table, "service").get("state_url")
    if isinstance(url, str) and url.lower().startswith("file:") and _same(_resolved(path_of(plain_url(url))), state):
        text = f"expected another folder than service.state_dir, got the same: {str(state)!r}"
        yield Mistake(("service", "state_url"), text)


def _state_dir(table: Mapping[str, Any]) -> Path:
    return _resolved(str(_section(table, "service").get("state_dir", "state")))


def _databases(table: Mapping[str, Any]) -> dict[str, Path]:
    """The files of log and store, where they are files."""
    usual = {"log": "sqlite:state/log.db", "store": "sqlite:state/store.db"}
    urls = {section: str(_section(table, section).get("url", url)) for section, url in usual.items()}
    return {
        section: _resolved(url.removeprefix("sqlite:")) for section, url in urls.items() if url.startswith("sqlite:")
    }


def _of_database(file: Path, database: Path) -> str | None:
    """The end of its name if the file is one of those that SQLite keeps for this database; None if it is not."""
    return next((end for end in _OF_A_DATABASE if _same(file, database.with_name(f"{database.name}{end}"))), None)


def _same(one: Path, other: Path) -> bool:
    """Whether both are one place, also by a hard link, or where upper and lower case are the same."""
    try:
        return one == other or one.samefile(other)
    except OSError:  # one of them is not there yet
        return False


def _resolved(path: str) -> Path:
    return Path(os.path.realpath(path))  # of a ring of links, too


@contextmanager
def folder_kept() -> Iterator[None]:
    """Stay in the working directory, although a plug-in that is imported or tried may change it."""
    try:
        here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # it may not be read, or is gone: there is nothing to go back to
        yield
        return
    try:
        yield
    finally:
        os.fchdir(here)
        os.close(here)


def _paths(table: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    """All texts of a table that are or hold paths, with their places."""
    service = _section(table, "service")
    found: list[tuple[Place, Any]] = [(("service", key), service.get(key)) for key in OF_SERVICE]
    found.append((("service", "jwt", "keys"), _section(service, "jwt").get("keys")))
    found += [((section, "url"), _section(table, section).get("url")) for section in ("log", "store")]
    models = table.get("model", [])
    for number, model in enumerate(models if isinstance(models, list) else []):
        if isinstance(model, dict):
            found += [(("model", number, key), model.get(key)) for key in _OF_MODEL]
            params = _section(model, "params")
            found += [(("model", number, "params", key), params.get(key)) for key in _OF_PARAMS]
    return ((place, text) for place, text in found if isinstance(text, str))


def path_of(text: str) -> str:
    """What stands behind the scheme of a URL, or the text."""
    return next((text.removeprefix(scheme) for scheme in _BEFORE_PATHS if text.startswith(scheme)), text)


def _section(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = table.get(key)
    return found if isinstance(found, Mapping) else {}


def _has_home() -> bool:
    try:
        return bool(Path.home())
    except RuntimeError:  # a user that no list has
        return False
