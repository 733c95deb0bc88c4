"""The KServe protocol, version 1: `{"instances": [...]}` is answered with `{"predictions": [...]}`."""

from __future__ import annotations

from typing import Any

import msgspec

from thalweg.ops.serve.rows.json_bodies import object_of
from thalweg.proto.schema import InputError


def read(body: bytearray) -> list[Any]:
    """The instances: rows by name, or the values of a model's only input. Raises InputError.

    Clients of TensorFlow Serving, whose protocol it was, name the signature: a model has one.
    """
    request = object_of(body, ("instances", "signature_name"), "an object with a list 'instances'")
    if not isinstance(request.get("instances"), list):
        raise InputError("the request: expected an object with a list 'instances'")
    return list(request["instances"])


def to_json(rows: msgspec.Raw) -> dict[str, Any]:
    """Predictions in the order of the instances."""
    return {"predictions": rows}
