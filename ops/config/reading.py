"""From TOML tables and environment variables to dataclasses, with every mistake named."""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
import types
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin, get_type_hints

PREFIX = "THALWEG_"
SECRET = re.compile(r"password|passwd|secret|jaas|token|credential|private|pem", re.IGNORECASE)
"""What is in the name of a setting whose value nobody should read."""


class FromEnvironment(str):
    """The text of an environment variable, not read yet: only its place says whether it is a number or a text."""

    variable: str

    def __new__(cls, text: str, variable: str) -> FromEnvironment:
        made = super().__new__(cls, text)
        made.variable = variable
        return made


def masked(url: str) -> str:
    """A URL without user, password and secret parameters, for people to read."""
    url = re.sub(r"://.*@", "://***@", url)  # greedy: a password may hold an @ or a slash
    return re.sub(rf"([?&][^=&]*(?:{SECRET.pattern})[^=&]*=)[^&]*", r"\1***", url, flags=re.IGNORECASE)


def overlay(table: dict[str, Any], environment: Mapping[str, str], mistakes: list[str]) -> None:
    """Lay the environment over a parsed file.

    `THALWEG_LOG__URL=…` is `log.url`. `THALWEG_MODEL__digits__SEED=…` is that key of the model of this name; what a
    variable's name cannot hold is an underscore there, and the model's place in the file, from 0, does, too. Case does
    not matter. Variables without a double underscore are none of ours.
    """
    for variable, text in sorted(environment.items()):
        if not variable.startswith(PREFIX) or "__" not in variable:
            continue
        keys = variable.removeprefix(PREFIX).split("__")
        place: Any = table
        if keys[0].lower() == "model":
            if len(keys) < 3:
                mistakes.append(f"{variable}: expected {PREFIX}MODEL__NAME__KEY")
                continue
            found = _models(table.get("model"), keys[1])
            if len(found) != 1:
                problem = "more than one model may be" if found else "no model is"
                mistakes.append(f"{variable}: {problem} called {keys[1]!r}")
                continue
            place, keys = found[0], keys[2:]
        for key in keys[:-1]:
            place = place.setdefault(_spelt(place, key), {})
            if not isinstance(place, dict):
                mistakes.append(f"{variable}: {key.lower()} is no table")
                break
        else:
            place[_spelt(place, keys[-1])] = FromEnvironment(text, variable)


def _models(models: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(models, list):
        return []
    tables = [model for model in models if isinstance(model, dict)]
    if name.isdigit():
        return tables[int(name) : int(name) + 1]
    exact = [model for model in tables if model.get("name") == name]
    return exact or [model for model in tables if _plain(str(model.get("name", ""))) == _plain(name)]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "_", name.lower())


def _spelt(table: dict[str, Any], key: str) -> str:
    """The key as the file spells it, else in small letters."""
    return next((known for known in table if known.lower() == key.lower()), key.lower())


def _toml(text: str) -> Any:
    """A TOML value if it is one, else the text itself."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return str(text)
    return parsed["value"] if len(parsed) == 1 else str(text)


@dataclass(frozen=True)
class Reading:
    """Reads tables as dataclasses.

    Args:
        source: Stands before each mistake.
        mistakes: Grows by a line for each.
        not_yet: What to say of keys, and of values of keys, that this version does not offer.
    """

    source: str
    mistakes: list[str]
    not_yet: Mapping[str, str]

    def instance(self, kind: Any, table: Any, place: str) -> Any:
        """An instance of the dataclass `kind`, or None when anything of it could not be used."""
        if not isinstance(table, dict):
            return self._wrong(place, table, f"expected a table, got {_shown(place, table)}")
        before = len(self.mistakes)
        hints = get_type_hints(kind)
        names = [entry.name for entry in dataclasses.fields(kind)]
        values = {}
        for key, value in table.items():
            where = f"{place}.{key}" if place else key
            if key in names:
                values[key] = self._value(hints[key], value, where)
            else:
                self._wrong(where, value, self._unknown(key, names))
        for entry in dataclasses.fields(kind):
            if entry.name not in table and entry.default is entry.default_factory is dataclasses.MISSING:
                self._wrong(f"{place}.{entry.name}", None, "missing; it has no default")
        return kind(**values) if len(self.mistakes) == before else None

    def _wrong(self, where: str, value: Any, text: str) -> None:
        variable = f"{value.variable}: " if isinstance(value, FromEnvironment) else ""
        self.mistakes.append(f"{self.source}: {variable}{where}: {text}")

    def _unknown(self, key: str, names: list[str]) -> str:
        if key in self.not_yet:
            return self.not_yet[key]
        near = get_close_matches(key, names, n=1)
        return "no such key" + (f"; did you mean {near[0]}?" if near else f"; known: {', '.join(names)}")

    def _value(self, hint: Any, given: Any, where: str) -> Any:
        """`given` as the type `hint` wants it, or None and a mistake."""
        origin, args = get_origin(hint), get_args(hint)
        kinds = args if origin in (types.UnionType, Literal) else (hint,)
        value = given
        if isinstance(given, FromEnvironment):
            is_text = str in kinds or (hint is Any and _secret(where)) or given in kinds
            value = str(given) if is_text else _toml(given)
        if dataclasses.is_dataclass(hint):
            return self.instance(hint, value, where)
        if origin is list and isinstance(value, list):
            return [self._value(args[0], one, _label(where, number, one)) for number, one in enumerate(value)]
        if origin is dict and isinstance(value, dict):
            return {key: self._value(args[1], one, f"{where}.{key}") for key, one in value.items()}
        if hint is Any:
            return value
        if origin is Literal:
            if any(value == choice and type(value) is type(choice) for choice in args):
                return value
            key = where.rpartition(".")[2]
            why = f"; {self.not_yet[key]}" if key in self.not_yet else ""
            wanted = " or ".join(_as_toml(choice) for choice in args)
            return self._wrong(where, given, f"expected {wanted}, got {_as_toml(value)}{why}")
        if float in kinds and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if isinstance(value, float) and float in kinds and not math.isfinite(value):
            return self._wrong(where, given, f"expected a finite number, got {value}")
        for kind in kinds:
            if (
                isinstance(kind, type)
                and isinstance(value, kind)
                and not (isinstance(value, bool) and kind is not bool)
            ):
                return value
        named = [kind.__name__ for kind in kinds if kind is not types.NoneType and isinstance(kind, type)]
        wanted = "a list" if origin is list else "a table" if origin is dict else " or ".join(named)
        return self._wrong(where, given, f"expected {wanted}, got {_shown(where, value)}")


def _label(where: str, number: int, table: Any) -> str:
    """A table of a list is known by its name, where it has one."""
    name = table.get("name") if isinstance(table, dict) else None
    return f"{where}.{name}" if name else f"{where}[{number}]"


def _shown(where: str, value: Any) -> str:
    return "***" if _secret(where) else f"{value!r:.60}"


def _secret(where: str) -> bool:
    return where.startswith("log.kafka.") and SECRET.search(where) is not None


def _as_toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)
