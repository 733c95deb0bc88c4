"""Prints the tables of docs/configuration.md, and with `parameters` those of docs/parameters.md, as the code has it."""

from __future__ import annotations

import sys
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from thalweg.models.columns.settings import ColumnConfig
from thalweg.models.contract.registry import BUILT_IN
from thalweg.models.parts.settings import Settings, keys_of
from thalweg.ops.config.access.jwt import JwtConfig
from thalweg.ops.config.alias import AliasConfig
from thalweg.ops.config.effective import toml
from thalweg.ops.config.fields import FieldsConfig, TimeFieldConfig
from thalweg.ops.config.learners import params_type
from thalweg.ops.config.model import InputConfig, ModelConfig
from thalweg.ops.config.sections import LogConfig, RegistryConfig, ServiceConfig, StoreConfig
from thalweg.stream.drift.params import DriftParams
from thalweg.stream.freshness.params import FreshnessParams
from thalweg.stream.shards.params import ScaleParams
from thalweg.stream.tuning.params import TuneParams

_SECTIONS: tuple[type[Settings], ...] = (
    ServiceConfig,
    JwtConfig,
    LogConfig,
    RegistryConfig,
    StoreConfig,
    ModelConfig,
    DriftParams,
    ScaleParams,
    TuneParams,
    FreshnessParams,
    InputConfig,
    ColumnConfig,
    FieldsConfig,
    TimeFieldConfig,
    AliasConfig,
)


def tables() -> str:
    """One Markdown table per section of the file."""
    return "\n".join(_table((kind.__doc__ or "").rstrip("."), kind) for kind in _SECTIONS)


def parameter_tables() -> str:
    """One Markdown table per built-in learner that declares its parameters."""
    kinds = {name: params_type(name) for name in sorted(BUILT_IN)}
    return "\n".join(_table(f"`{name}`", kind) for name, kind in kinds.items() if kind is not None)


def _table(title: str, kind: type[Settings]) -> str:
    """Key, default, and the docstring under the field."""
    rows = [f"| `{key}` | {_default(field)} | {_text(field)} |" for key, field in _fields(kind)]
    return "\n".join([f"## {title}", "", "| key | default | |", "|---|---|---|", *rows]) + "\n"


def _fields(kind: type[Settings]) -> list[tuple[str, FieldInfo]]:
    return [(key, kind.model_fields[key]) for key in keys_of(kind)]


def _text(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.default
    return f"`{'none' if value is None else '{}' if isinstance(value, BaseModel) else toml(value)}`"


if __name__ == "__main__":
    print(parameter_tables() if sys.argv[1:] == ["parameters"] else tables(), end="")
