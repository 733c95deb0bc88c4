"""The effective configuration, as TOML that is itself a valid configuration."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from thalweg.models.parts.settings import Place, Settings, keys_of
from thalweg.ops.config.access.secrets import MASK, shown
from thalweg.ops.config.config import Config
from thalweg.ops.config.learners import effective_params, params_type
from thalweg.ops.config.model import ModelConfig
from thalweg.stream.log.kafka_shared.choice import effective_client

HEADER = f"""\
# The effective configuration, itself a valid configuration; secrets are masked as {MASK}. "default": set neither in the
# file nor in the environment. Parameters at their default are comments: a state belongs to the parameters as given."""


def effective(config: Config) -> str:
    """The configuration with all defaults and each learner's parameters, secrets masked.

    Reading it gives the same configuration, except for the secrets.
    """
    lines = [HEADER]
    for section in ("service", "log", "store"):
        lines += ["", f"[{section}]", *_table(getattr(config, section), (section,))]
        if section == "log" and config.log.url.startswith("kafka:"):
            lines.append(f"# the client of Kafka in use: {effective_client(config.log.client)}")
    for number, model in enumerate(config.model):
        lines += ["", "[[model]]", *_table(model, ("model", number), leave_out=("params", "drift"))]
        lines += ["", "[model.params]", *_params(model, ("model", number, "params"))]
        lines += ["", "[model.drift]", *_table(model.drift, ("model", number, "drift"))]
    for number, alias in enumerate(config.alias):
        lines += ["", "[[alias]]", *_table(alias, ("alias", number))]
    return "\n".join(lines) + "\n"


def _table(settings: Settings, place: Place, leave_out: tuple[str, ...] = ()) -> Iterator[str]:
    for key in keys_of(type(settings)):
        if key not in leave_out:
            yield _line(key, shown(getattr(settings, key), (*place, key)), key not in settings.model_fields_set)


def _params(model: ModelConfig, place: Place) -> Iterator[str]:
    if params_type(model.learner) is None:
        yield f"# {model.learner} does not declare its parameters: these are the given ones"
    for key, value in effective_params(model).items():
        given = key in model.params
        line = _line(key, shown(model.params[key] if given else value, (*place, key)), not given)
        yield line if given or line.startswith("#") else f"# {line}"


def _line(key: str, value: Any, is_default: bool) -> str:
    name, end = _key(key), "  # default" if is_default else ""
    return f"# {name} = none{end}" if value is None else f"{name} = {toml(value)}{end}"


def toml(value: Any) -> str:
    """A value as TOML on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {toml(one)}" for key, one in value.items() if one is not None)
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value) if isinstance(value, (int, float)) else str(value)  # otherwise a date or time


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml(key)
