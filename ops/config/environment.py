"""Environment variables that override keys of a parsed file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from thalweg.models.parts.settings import Place
from thalweg.ops.config.access.secrets import is_secret

PREFIX = "THALWEG_"
SECRETS_DIR = "THALWEG_SECRETS_DIR"
"""The variable with a folder of files, each named like a variable and holding its text."""


def with_files(environment: Mapping[str, str], mistakes: list[str]) -> Mapping[str, str]:
    """The variables with those of the files in the folder of SECRETS_DIR, as Kubernetes mounts a secret. Of a variable
    that is in both, that of the environment counts. `mistakes` receives a line for each file that cannot be one.
    """
    folder = environment.get(SECRETS_DIR)
    if not folder:
        return environment
    found: dict[str, str] = {}
    try:
        files = sorted(one for one in Path(folder).iterdir() if not one.name.startswith("."))
        for file in files:
            if not file.name.startswith(PREFIX) or "__" not in file.name:
                mistakes.append(f"{SECRETS_DIR}: {file}: expected names of variables, such as {PREFIX}LOG__URL")
            elif not file.is_dir():
                found[file.name] = file.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        mistakes.append(f"{SECRETS_DIR}: {error.filename or folder} cannot be read: {error.strerror or error}")
    except UnicodeDecodeError:
        mistakes.append(f"{SECRETS_DIR}: {file}: expected UTF-8 text")
    return found | dict(environment)


def overlay(
    table: dict[str, Any],
    environment: Mapping[str, str],
    hint_at: Callable[[Place], Any],
    mistakes: list[str],
) -> dict[Place, str]:
    """Override keys of a parsed file by environment variables.

    `THALWEG_LOG__URL=…` is `log.url`. `THALWEG_MODEL__digits__SEED=…` is that key of the model of this name, and
    `THALWEG_ALIAS__…` of the alias; an
    underscore stands for each character that a variable's name cannot hold, and the model's index in the file, from
    0, works too. Case is ignored. Variables without a double underscore are ignored.

    Args:
        table: The parsed file; modified.
        environment: Variables by name.
        hint_at: The expected type at a place: for text the variable is used as it is, otherwise parsed as TOML.
        mistakes: Receives a line for each variable that matches no key.

    Returns:
        The variable of each overridden place.
    """
    found: dict[Place, str] = {}
    for variable, text in sorted(environment.items()):
        if not variable.startswith(PREFIX) or "__" not in variable:
            continue
        try:
            inner, place, keys = _start(table, variable)
            for key in keys[:-1]:
                place = (*place, _spelt(inner, key))
                inner = inner.setdefault(place[-1], {})
                if not isinstance(inner, dict):
                    raise ValueError(f"{key.lower()} is not a table")
        except ValueError as error:
            mistakes.append(f"{variable}: {error}")
            continue
        place = (*place, _spelt(inner, keys[-1]))
        inner[place[-1]] = text if _is_text(hint_at(place), text, place) else _toml(text)
        found[place] = variable
    return found


def _start(table: dict[str, Any], variable: str) -> tuple[Any, Place, list[str]]:
    """The table that a variable's keys start in, its place, and the remaining keys."""
    keys = variable.removeprefix(PREFIX).split("__")
    kind = keys[0].lower()
    if kind not in ("model", "alias"):
        return table, (), keys
    if len(keys) < 3:
        raise ValueError(f"expected {PREFIX}{kind.upper()}__NAME__KEY")
    listed = table.get(kind)
    numbers = _numbers(listed if isinstance(listed, list) else [], keys[1])
    if len(numbers) != 1:
        raise ValueError(f"{f'more than one {kind} may be' if numbers else f'no {kind} is'} called {keys[1]!r}")
    return table[kind][numbers[0]], (kind, numbers[0]), keys[2:]


def _numbers(listed: list[Any], name: str) -> list[int]:
    """Indices of the models or aliases that a name in a variable may refer to."""
    tables = {number: one for number, one in enumerate(listed) if isinstance(one, dict)}
    if name.isdigit():
        return [number for number in tables if number == int(name)]
    exact = [number for number, one in tables.items() if one.get("name") == name]
    return exact or [
        number for number, one in tables.items() if plain_name(str(one.get("name", ""))) == plain_name(name)
    ]


def plain_name(name: str) -> str:
    """A name as a variable can hold it, in lower case."""
    return re.sub(r"[^a-z0-9]", "_", name.lower())


def _spelt(table: dict[str, Any], key: str) -> str:
    """The key as spelt in the file, otherwise in lower case."""
    return next((known for known in table if known.lower() == key.lower()), key.lower())


def _is_text(hint: Any, text: str, place: Place) -> bool:
    if get_origin(hint) is Literal:
        return text in get_args(hint)
    return hint is str or is_secret(place)


def _toml(text: str) -> Any:
    """The text parsed as TOML, or the text itself if it is not TOML."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 else text
