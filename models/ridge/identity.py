"""What two states of ridge must share to be of one model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thalweg.models.ridge.params import Params
from thalweg.proto.schema import TensorSpec

VERSION = 2
"""Of the sums: version 1 did not re-express them when the scale moved, and forgot classes that no longer came."""


def identity(params: Params, specs: Mapping[str, TensorSpec], seed: int) -> Mapping[str, Any]:
    """Version, parameters, inputs, seed. JSON-able."""
    inputs = [[spec.name, spec.dtype, list(spec.shape)] for spec in specs.values()]
    values = params.model_dump() | {"forgetting": list(params.forgetting)}
    if not params.half_life_seconds:  # states written before there was one do not say so
        del values["half_life_seconds"]
    if params.rest_expansion:  # likewise; such a state has learned every event with random features
        del values["rest_expansion"]
    return {"learner": "ridge", "version": VERSION, "params": values, "inputs": inputs, "seed": seed}


def check(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Raises:
    ValueError: They differ; the message has what, and both values.
    """
    found = []
    for key in mine:
        its = theirs.get(key, 1 if key == "version" else None)
        if mine[key] == its:
            continue
        if key == "params" and isinstance(its, Mapping):
            found += [
                f"{name} = {its.get(name, 'not set')}, expected {value}"
                for name, value in mine[key].items()
                if its.get(name) != value
            ]
        else:
            found.append(f"{key} = {its}, expected {mine[key]}")
    if found:
        raise ValueError(f"the state was made under other parameters: {'; '.join(found)}")
