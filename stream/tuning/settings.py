"""Which variants of a model there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_NOT_GIVEN = object()


def settings_of(own: Mapping[str, Any], values: Mapping[str, Sequence[Any]], most: int) -> list[dict[str, Any]]:
    """The parameters of each variant: the model's own, then with one value changed, then with two, and so on.

    Args:
        own: The model's parameters.
        values: By parameter, the values to try beside its own.
        most: Variants at most.
    """
    found: list[dict[str, Any]] = [dict(own)]
    changed: list[dict[str, Any]] = [{}]
    while changed and len(found) < most:
        further = []
        for one in changed:
            later = [
                name
                for name in values
                if name not in one and all(_order(values, name) > _order(values, n) for n in one)
            ]
            further += [{**one, name: value} for name in later for value in values[name]]
        found += [made for made in ({**own, **one} for one in further) if made not in found]
        changed = further
    return found[:most]


def _order(values: Mapping[str, Sequence[Any]], name: str) -> int:
    return list(values).index(name)


def name_of(own: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    """What tells a variant from the model as configured."""
    told = [f"{name}={value}" for name, value in params.items() if own.get(name, _NOT_GIVEN) != value]
    return ",".join(told) or "configured"
