"""Keys that stand in the wrong table: TOML takes every key after a table's header for one of that table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from thalweg.models.contract.registry import UnknownLearner
from thalweg.models.parts.settings import Mistake, Place, Settings
from thalweg.ops.config.alias import AliasConfig
from thalweg.ops.config.fields import FieldsConfig
from thalweg.ops.config.learners import params_type
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.config.sections import LogConfig, RegistryConfig, ServiceConfig, StoreConfig
from thalweg.stream.drift.params import DriftParams
from thalweg.stream.shards.params import ScaleParams
from thalweg.stream.tuning.params import TuneParams

_UNKNOWN = "no such "
_NAMED = ("columns", "inputs")
"""Tables of a model whose keys are names of the user's own."""


class _Table(NamedTuple):
    header: str
    place: Place
    keys: frozenset[str]


def with_home(table: dict[str, Any], mistake: Mistake) -> Mistake:
    """The mistake, which says in which table of the file a key belongs that is none of the one in which it stands."""
    place = mistake.place
    if place[:1] == ("model",) and len(place) > 3 and place[2] in _NAMED:
        return _within_names(table, mistake)
    if not place or not mistake.text.startswith(_UNKNOWN):
        return mistake
    key, here = str(place[-1]), place[:-1]
    for home in _tables(table, place):
        if key in home.keys and home.place != here:
            return Mistake(place, f"no such key here: {_belongs(key, home, here)}")
    return mistake


def _within_names(table: dict[str, Any], mistake: Mistake) -> Mistake:
    """A key of the model among its columns or inputs, or below one of them."""
    _, number, what, name = mistake.place[:4]
    last = str(mistake.place[-1])
    model = _Table("[[model]]", ("model", number), frozenset(ModelConfig.model_fields))
    if len(mistake.place) > 4 and mistake.text.startswith(_UNKNOWN) and last in model.keys:
        return Mistake(mistake.place, f"no such key here: {_belongs(last, model, mistake.place[:-1])}")
    held = table["model"][number][what]
    if name in model.keys and not isinstance(held[name], dict):
        text = f"{mistake.text}; if it is no name of your own: {_belongs(str(name), model, mistake.place[:3])}"
        return Mistake(mistake.place, text)
    return mistake


def _belongs(key: str, home: _Table, here: Place) -> str:
    if here[: len(home.place)] == home.place and home.place:
        inner = ".".join(str(part) for part in here if not isinstance(part, int))
        return (
            f"{key} is a key of {home.header}, and belongs above [{inner}], "
            "because a key after a table's header is one of that table"
        )
    return f"{key} is a key of {home.header}, and belongs below that header"


def _tables(table: dict[str, Any], place: Place) -> Iterator[_Table]:
    """The tables of a file; first those of the same model."""
    models = table.get("model")
    numbers = range(len(models)) if isinstance(models, list) else range(0)
    own = place[1] if place[0] == "model" and len(place) > 1 else None
    if own is not None:
        yield from _of_model(models[int(own)] if isinstance(models, list) else {}, int(own))
    sections: dict[str, type[Settings]] = {
        "service": ServiceConfig,
        "log": LogConfig,
        "log.registry": RegistryConfig,
        "store": StoreConfig,
    }
    for name, kind in sections.items():
        yield _Table(f"[{name}]", tuple(name.split(".")), frozenset(kind.model_fields))
    if own is None:
        yield from (one for number in numbers for one in _of_model(models[number], number))  # type: ignore[index]
    yield _Table("[[alias]]", ("alias", 0), frozenset(AliasConfig.model_fields))


def _of_model(model: Any, number: int) -> Iterator[_Table]:
    yield _Table("[[model]]", ("model", number), frozenset(ModelConfig.model_fields))
    try:
        kind = params_type(str(model.get("learner"))) if isinstance(model, dict) else None
    except UnknownLearner:
        kind = None
    tables: dict[str, type[Settings] | None] = {
        "params": kind,
        "drift": DriftParams,
        "fields": FieldsConfig,
        "scale": ScaleParams,
        "tune": TuneParams,
    }
    for name, one in tables.items():
        keys = frozenset[str]() if one is None else frozenset(one.model_fields)
        yield _Table(f"[model.{name}]", ("model", number, name), keys)
