"""The binary tensor extension: a body is JSON, whose length a header tells, and then the values of tensors, raw.

Inputs say `"parameters": {"binary_data_size": N}` instead of `data`. Outputs are raw where they are asked for with
`"parameters": {"binary_data": true}`, or all of them with the request's parameter `binary_data_output`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from thalweg.ops.serve.class_names import looked_up
from thalweg.ops.serve.http_api.bodies import HEADER_LENGTH
from thalweg.ops.serve.http_api.calls import Answer
from thalweg.proto.json_text import as_json
from thalweg.proto.schema import Array, InputError, TensorSpec
from thalweg.proto.tensors import to_raw

_HEADER = "Inference-Header-Content-Length"


class RawInputs:
    """The raw values after the JSON, taken input by input in the order of the request."""

    def __init__(self, content: memoryview | None) -> None:
        self._content, self._at = content, 0

    def take(self, name: str, size: Any) -> bytes:
        """The values of the next input. Raises InputError."""
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise InputError(f"input {name!r:.80}: binary_data_size: expected a number of bytes, got {as_json(size)}")
        if self._content is None:
            raise InputError(f"input {name!r:.80}: binary_data_size needs the header {_HEADER}, the length of the JSON")
        left = len(self._content) - self._at
        if size > left:
            raise InputError(f"input {name!r:.80}: expected {size} bytes after the JSON, got {left}")
        self._at += size
        return bytes(self._content[self._at - size : self._at])

    def end(self) -> None:
        """Raise InputError if there are more values than inputs."""
        if self._content is not None and self._at < len(self._content):
            raise InputError(f"expected {self._at} bytes after the JSON, got {len(self._content)}")


def split(headers: Mapping[str, str], body: bytearray) -> tuple[bytearray, RawInputs]:
    """The JSON of a body, and the raw values after it. Raises InputError."""
    text = headers.get(HEADER_LENGTH)
    if text is None:
        return body, RawInputs(None)
    if not (text.isascii() and text.isdigit() and len(text) < 12) or int(text) > len(body):
        raise InputError(f"header {_HEADER}: expected at most the {len(body)} bytes of the body, got {text!r:.80}")
    return body[: int(text)], RawInputs(memoryview(body)[int(text) :])


def answer(head: dict[str, Any], raw: Sequence[bytes], rows: int) -> Answer:
    """JSON, followed by the raw values of some outputs; JSON alone if there are none."""
    content = msgspec.json.encode(head)
    if not raw:
        return Answer(content, rows)
    return Answer(b"".join([content, *raw]), rows, "application/octet-stream", {_HEADER: str(len(content))})


def raw_of(array: Array, spec: TensorSpec, classes: Sequence[str]) -> bytes:
    """Raw values of an output."""
    if spec.dtype != "bytes":
        return to_raw(array.astype(spec.dtype, copy=False))
    texts = [*(name.encode() for name in classes), b""]  # code -1: no known class
    return looked_up([struct.pack("<I", len(text)) + text for text in texts], array)
