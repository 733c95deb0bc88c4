"""The configuration: one TOML file; environment variables override keys; all mistakes are reported at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from thalweg.models.contract.registry import UnknownLearner
from thalweg.models.parts.settings import Mistake, Place, Settings, dotted, hint_at, mistakes, rule
from thalweg.models.parts.user_modules import allow, use_folder
from thalweg.ops.config.access.secrets import is_secret
from thalweg.ops.config.alias import AliasConfig
from thalweg.ops.config.environment import overlay, with_files
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.config.files.places import ONE_FOLDER, folder_kept, place_mistakes, same_but_for_case
from thalweg.ops.config.files.reading import read_table
from thalweg.ops.config.hosts import scaled
from thalweg.ops.config.hosts.roles import role_mistakes
from thalweg.ops.config.learners import device_mistakes, learner_mistakes, params_type
from thalweg.ops.config.misplaced import with_home
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.config.sections import LogConfig, ServiceConfig, StoreConfig
from thalweg.stream.shards.names import shard_of


class Config(Settings):
    """The whole file."""

    service: ServiceConfig = ServiceConfig()
    log: LogConfig = LogConfig()
    store: StoreConfig = StoreConfig()
    model: list[ModelConfig] = Field(default=[], json_schema_extra={"minItems": 1})
    alias: list[AliasConfig] = Field(default=[])

    @rule("model")
    def _there_is_a_model(self) -> str | None:
        return None if self.model else "expected at least one [[model]]"

    def find(self, name: str) -> ModelConfig:
        """The model of this name, or the shard `NAME~3`. Raises ConfigurationError, which lists the known ones."""
        shard = shard_of(name)
        for model in self.model:
            if model.name == name:
                return model
            if shard is not None and model.sharded is not None and model.name == shard[0]:
                return model.model_copy(update={"name": name})
        names = [model.name for model in self.model]
        raise ConfigurationError([f"no model is called {name!r}; {_meant(name, names)}known: {', '.join(names)}"])

    def find_alias(self, name: str) -> AliasConfig:
        """The alias of this name. Raises ConfigurationError, which lists the known ones."""
        for alias in self.alias:
            if alias.name == name:
                return alias
        names = [alias.name for alias in self.alias]
        known = ", ".join(names) or "none"
        raise ConfigurationError([f"no alias is called {name!r}; {_meant(name, names)}known: {known}"])


def _meant(name: str, names: list[str]) -> str:
    near = get_close_matches(name, names, n=1)
    return f"did you mean {near[0]}? " if near else ""


def load(path: Path, environment: Mapping[str, str] | None = None, *, devices: bool = True) -> Config:
    """The configuration of a file, overridden by environment variables.

    Modules that it names are also looked for beside it, after all others.

    Args:
        path: The file.
        environment: The variables; None: those of the process.
        devices: Whether GPUs that it names must be there. A process of a service that has been started says no: one
            that has failed since costs the models that compute on it, and no others.

    Raises:
        ConfigurationError: It cannot be read or is invalid; every mistake with file, key and the nearest valid key.
    """
    try:
        table = read_table(path)
    except OSError as error:
        raise ConfigurationError([f"{path}: cannot be read: {error.strerror or error}"]) from error
    except ValueError as error:
        raise ConfigurationError([f"{path}: {error}"]) from error
    if path.is_file():  # not a pipe
        use_folder(path.parent)
    with folder_kept():
        return parse(table, str(path), os.environ if environment is None else environment, devices=devices)


def parse(table: dict[str, Any], source: str, environment: Mapping[str, str], *, devices: bool = True) -> Config:
    """The configuration of a parsed table, which is modified; `source` precedes each mistake; `devices` as above."""
    lines: list[str] = []
    of_file = set(table)
    variables = overlay(table, with_files(environment, lines), lambda place: _hint_at(table, place), lines)
    allow(_allowed_modules(table))  # before anything is imported
    config, found = None, []
    try:
        config = Config.model_validate(table)
    except ValidationError as error:
        found = mistakes(Config, error, is_secret)
    found += _beyond_types(table, {one.place for one in found}, devices=devices)
    for one in (with_home(table, mistake) for mistake in found):
        alone = one.place[:1] != () and one.place[0] not in of_file  # nothing but variables has it
        causes = (
            name
            for place, name in variables.items()
            if one.place[: len(place)] == place or (alone and place[: len(one.place)] == one.place)
        )
        variable = next((f"{name}: " for name in causes), "")
        lines.append(f"{source}: {variable}{_shown(table, one.place)}: {one.text}")
    if config is None or lines:
        raise ConfigurationError(lines)
    return config


def _allowed_modules(table: dict[str, Any]) -> list[str] | None:
    """The modules that a table allows; none if that is said in a way that cannot be understood."""
    service = table.get("service")
    given = service.get("allowed_modules") if isinstance(service, dict) else None
    return given if given is None else [one for one in given if isinstance(one, str)] if isinstance(given, list) else []


def _hint_at(table: dict[str, Any], place: Place) -> Any:
    """The expected type at a place, also within a learner's parameters."""
    if place[0] == "model" and place[2] == "params" and len(place) > 3:
        try:
            kind = params_type(str(table["model"][place[1]].get("learner")))
        except UnknownLearner:
            return Any
        return Any if kind is None else hint_at(kind, place[3:])
    return hint_at(Config, place)


def _beyond_types(table: dict[str, Any], wrong: set[Place], *, devices: bool) -> Iterator[Mistake]:
    """Mistakes that depend on the environment or on several models; skips checks whose inputs are already wrong."""
    log = table.get("log", {})
    if not any(place[0] == "log" for place in wrong):
        for key, text in LogConfig.of(log).kafka_mistakes().items():
            yield Mistake(("log", "kafka", key) if key else ("log", "url"), text)
    models = table.get("model", [])
    tables = [one for one in enumerate(models) if isinstance(one[1], dict)] if isinstance(models, list) else []
    names = [model.get("name") for _, model in tables]
    for position, (number, model) in enumerate(tables):
        inside = {str(place[2]) for place in wrong if place[:2] == ("model", number) and len(place) > 2}
        if "name" not in inside and names.count(model["name"]) > 1:
            yield Mistake(("model", number, "name"), "another model has this name")
        elif "name" not in inside and (other := same_but_for_case(model["name"], names[:position])) is not None:
            yield Mistake(("model", number, "name"), f"{other!r} differs by case alone: {ONE_FOLDER}")
        sound = _with_sound_scale(model, {place[3:] for place in wrong if place[:3] == ("model", number, "scale")})
        usable = inside - {"scale"} if sound is not model else inside
        for one in (*learner_mistakes(sound, usable), *(device_mistakes(model, inside) if devices else ())):
            yield Mistake(("model", number, *one.place), one.text)
    yield from _alias_mistakes(table.get("alias", []), [model for _, model in tables], wrong)
    yield from role_mistakes(table, wrong)
    yield from place_mistakes(table)


def _with_sound_scale(model: dict[str, Any], wrong: set[Place]) -> dict[str, Any]:
    """A model's table with the valid keys of its `[model.scale]`; the table itself where all are, or none is known."""
    given = model.get("scale")
    if not wrong or not isinstance(given, dict) or ("answers",) in wrong:
        return model
    return {**model, "scale": {key: value for key, value in given.items() if (key,) not in wrong}}


def _alias_mistakes(aliases: Any, models: list[dict[str, Any]], wrong: set[Place]) -> Iterator[Mistake]:
    """Mistakes of aliases that depend on the models, of the keys that are not wrong already."""
    by_name = {str(model.get("name")): model for model in models}
    given = [alias.get("name") for alias in aliases if isinstance(alias, dict)] if isinstance(aliases, list) else []
    for number in range(len(given)):
        if not isinstance(aliases[number], dict):
            continue
        inside = {str(place[2]) for place in wrong if place[:2] == ("alias", number) and len(place) > 2}
        alias = AliasConfig.model_construct(**{key: aliases[number][key] for key in aliases[number].keys() - inside})
        if "name" not in inside and (alias.name in by_name or given.count(alias.name) > 1):
            other = "a model" if alias.name in by_name else "another alias"
            yield Mistake(("alias", number, "name"), f"{other} has this name")
        elif (
            "name" not in inside and (near_by := same_but_for_case(alias.name, [*by_name, *given[:number]])) is not None
        ):
            yield Mistake(("alias", number, "name"), f"{near_by!r} differs by case alone: {ONE_FOLDER}")
        for key in ("champion", "challengers"):
            if {"champion", key} & inside:  # each challenger is held against the champion
                continue
            for name in [alias.champion] if key == "champion" else alias.challengers:
                place = ("alias", number, key)
                if name not in by_name:
                    near = get_close_matches(name, by_name, n=1)
                    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(by_name) or 'none'}"
                    yield Mistake(place, f"no model is called {name!r}; {hint}")
                elif alias.promotion == "auto" and by_name[name].get("scale") is not None:
                    yield Mistake(place, scaled.tested(name))
                elif alias.members.count(name) > 1:
                    yield Mistake(place, f"{name!r} is given twice")
                    break
                elif alias.champion in by_name:
                    yield from _other_topics(place, by_name[name], by_name[alias.champion])
        if alias.promotion == "auto" and not inside & {"champion", "challengers", "promotion"}:
            others = [AliasConfig.of(one) for at, one in enumerate(aliases) if at != number and _is_sound(wrong, at)]
            yield from _test_mistakes(number, alias, others)


def _is_sound(wrong: set[Place], number: int) -> bool:
    return not any(place[:2] == ("alias", number) for place in wrong)


def _test_mistakes(number: int, alias: AliasConfig, others: list[AliasConfig]) -> Iterator[Mistake]:
    if not alias.challengers:
        yield Mistake(("alias", number, "challengers"), 'expected at least one model to compare: promotion is "auto"')
    for other in others:
        for name in set(alias.members) & set(other.members) if other.promotion == "auto" else ():
            yield Mistake(
                ("alias", number, "promotion"), f"{name!r} is compared under alias {other.name!r} already, once is all"
            )


def _other_topics(place: Place, model: dict[str, Any], champion: dict[str, Any]) -> Iterator[Mistake]:
    for key in ("topic", "labels_topic"):
        if model.get(key, "") != champion.get(key, ""):
            expected, got = champion.get(key, ""), model.get(key, "")
            yield Mistake(place, f"expected models of one {key}, {expected!r}, got {model['name']!r} with {got!r}")


def _shown(table: dict[str, Any], place: Place) -> str:
    """A place as text, with the name of a model or alias in place of its index where it has one."""
    if len(place) > 1 and place[0] in ("model", "alias") and isinstance(listed := table.get(str(place[0])), list):
        one = listed[int(place[1])]
        name = one.get("name") if isinstance(one, dict) else None
        return dotted((place[0], str(name), *place[2:]) if name else place)
    return dotted(place)
