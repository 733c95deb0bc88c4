"""Grafana's own model of a dashboard, as its SDK has it (generated from Grafana's schemas), held against a document.

The SDK's readers take what they know and look at no types, so both are checked here: nothing of the document may be
lost on the way through the model, and every value must be what the model's annotations say.
"""

from __future__ import annotations

import enum
import json
import types
import typing
from collections.abc import Iterator
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

register_default_plugins()

# of annotations: the data source's own, which the schema of dashboards leaves open
_OF_PROMETHEUS = ("step", "titleFormat", "textFormat")


def mistakes(document: dict[str, Any]) -> list[str]:
    """Where the document is no dashboard, in words; [] where it is one."""
    known = json.loads(json.dumps(document))
    found = [
        f"annotations.list[{place}].{key}: expected a text"
        for place, mark in enumerate(known.get("annotations", {}).get("list", ()))
        for key in _OF_PROMETHEUS
        if not isinstance(mark.pop(key, ""), str)
    ]
    try:
        read = Dashboard.from_json(known)
        back = json.loads(json.dumps(read, cls=JSONEncoder))
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        return [*found, f"cannot be read: {error}"]
    return [*found, *_lost(known, back, ""), *_wrong(read, Dashboard, "")]


def _lost(document: Any, back: Any, at: str) -> Iterator[str]:
    if isinstance(document, dict) and isinstance(back, dict):
        for key, value in document.items():
            if key not in back and value is not None:
                yield f"{at}.{key}: no such key"
            elif key in back:
                yield from _lost(value, back[key], f"{at}.{key}")
    elif isinstance(document, list) and isinstance(back, list) and len(document) == len(back):
        for place, (one, other) in enumerate(zip(document, back, strict=True)):
            yield from _lost(one, other, f"{at}[{place}]")
    elif document != back:
        yield f"{at}: {document!r} became {back!r}"


def _wrong(value: Any, hint: Any, at: str) -> Iterator[str]:
    """What of a value is not as its annotation says."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        tried = [list(_wrong(value, one, at)) for one in arguments]
        if all(tried):
            yield from min(tried, key=len)
    elif hint is type(None):
        if value is not None:
            yield f"{at}: expected nothing, got {value!r}"
    elif origin is typing.Literal:
        if value not in arguments:
            yield f"{at}: expected one of {arguments}, got {value!r}"
    elif origin is list:
        if not isinstance(value, list):
            yield f"{at}: expected a list, got {value!r}"
        else:
            for place, one in enumerate(value):
                yield from _wrong(one, arguments[0], f"{at}[{place}]")
    elif origin is dict:
        if not isinstance(value, dict):
            yield f"{at}: expected an object, got {value!r}"
        else:
            for key, one in value.items():
                yield from _wrong(one, arguments[1], f"{at}.{key}")
    elif hint in (object, Any):
        if hasattr(type(value), "to_json"):  # the options of a known kind of panel
            yield from _wrong(value, type(value), at)
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        if value not in [one.value for one in hint]:
            yield f"{at}: expected one of {[one.value for one in hint]}, got {value!r}"
    elif hint in (str, bool, int, float):
        wanted = (int, float) if hint is float else hint
        if not isinstance(value, wanted) or (isinstance(value, bool) and hint is not bool):
            yield f"{at}: expected {hint.__name__}, got {value!r}"
    elif isinstance(hint, type) and isinstance(value, dict) and hasattr(hint, "from_json"):  # left as it was read
        read = hint.from_json(value)
        yield from _lost(value, json.loads(json.dumps(read, cls=JSONEncoder)), at)
        yield from _wrong(read, hint, at)
    elif not isinstance(value, hint):
        yield f"{at}: expected {hint.__name__}, got {value!r}"
    else:
        for name, inner in typing.get_type_hints(type(value)).items():
            yield from _wrong(getattr(value, name), inner, f"{at}.{name}")
