"""Serialiser of inference responses that caches the part common to all responses of a version."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable
from functools import lru_cache, partial

import numpy as np

from thalweg.ops.serve.class_names import looked_up, offered, pieces_of
from thalweg.ops.serve.inference import InferenceResponse
from thalweg.proto import inference_pb2 as pb
from thalweg.proto.schema import Array
from thalweg.proto.tensors import datatype, to_raw, to_typed
from thalweg.stream.publication.ports import ServedVersion

_DOUBLE = struct.Struct("<d")
_OUTPUT, _CONTENTS = (
    b"\x2a",
    b"\x2a",
)  # of `outputs` in a response and `contents` in an output: their field 5, a message
_MOST = 64  # templates per version: for different sizes and selections of outputs


def _open_end(staleness: float) -> bytes:
    response = pb.ModelInferResponse()
    response.parameters["staleness_seconds"].double_param = staleness
    return response.SerializeToString()[:-8]  # a double ends the message and can be replaced by any other


_STALENESS = _open_end(1.0)


@lru_cache(1024)
def _raw_head(length: int) -> bytes:
    """The bytes before raw contents of this length."""
    return pb.ModelInferResponse(raw_output_contents=[bytes(length)]).SerializeToString()[: -length or None]


class ResponseTemplates:
    """The response templates of one model. Thread-safe."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._newest: _VersionTemplates | None = None

    def encode(self, response: InferenceResponse, *, typed: bool = False) -> tuple[bytes, int]:
        """The serialised response and its number of rows.

        Contents are raw. `typed` contents are added for callers that sent such: tritonclient reads only raw ones,
        but callers that send typed contents may read only those.
        """
        served = response.served
        newest = self._newest
        if newest is None or newest.served.predictor is not served.predictor or newest.version != served.info.version:
            newest = self._newest = _VersionTemplates(self._name, served)
        return newest.encode(response, typed)


class _VersionTemplates:
    def __init__(self, name: str, served: ServedVersion) -> None:
        self.served = served
        self.version = served.info.version
        self._name = name
        self._specs = offered(served.predictor)
        self._all = tuple(served.predictor.outputs)
        self._coded = {name: spec.dtype == "bytes" for name, spec in self._specs.items()}
        self._dtypes = {
            name: np.dtype(np.int32 if self._coded[name] else one.dtype) for name, one in self._specs.items()
        }
        self._texts = [name.encode() for name in served.predictor.classes] + [b""]  # code -1: no known class
        self._framed = [struct.pack("<I", len(text)) + text for text in self._texts]
        self._templates: dict[tuple[object, ...], bytes] = {}

    def encode(self, response: InferenceResponse, typed: bool) -> tuple[bytes, int]:
        options, outputs = response.options, response.outputs
        names = options.outputs or self._all
        # a plug-in may answer in another precision than it declares
        arrays = [outputs[name].astype(self._dtypes[name], copy=False) for name in names]
        key = (names, *[array.shape for array in arrays])
        template = self._typed(names, arrays) if typed else self._cached(key, partial(self._template, names, arrays))
        raw = [
            looked_up(self._framed, array) if self._coded[name] else to_raw(array) for name, array in zip(names, arrays)
        ]
        # concatenated parts of a message are one message
        parts = [template, _STALENESS, _DOUBLE.pack(response.staleness_seconds)]
        if options.id:
            parts.append(pb.ModelInferResponse(id=options.id).SerializeToString())
        for one in raw:
            parts += (_raw_head(len(one)), one)
        content = b"".join(parts)
        if response.explanation is not None:
            content += _parameter("explanation", json.dumps(response.explanation))
        if reason := response.no_label:
            content += _parameter("no_label", reason)
        return content, len(arrays[0])

    def _typed(self, names: Iterable[str], arrays: Iterable[Array]) -> bytes:
        """A template with the values in typed contents, written in pieces: protobuf takes Python objects."""
        parts = [self._cached((), self._template)]
        for name, array in zip(names, arrays):
            contents = b"".join(self._contents(name, piece) for piece in pieces_of(array))
            tensor = self._cached((name, array.shape), partial(self._tensor, name, array))
            inner = b"".join((tensor, _CONTENTS, _varint(len(contents)), contents))
            parts += (_OUTPUT, _varint(len(inner)), inner)
        return b"".join(parts)

    def _cached(self, key: tuple[object, ...], made: Callable[[], bytes]) -> bytes:
        found = self._templates.get(key)
        if found is None:
            found = made()
            if len(self._templates) < _MOST:
                self._templates[key] = found
        return found

    def _contents(self, name: str, piece: Array) -> bytes:
        contents = pb.InferTensorContents()
        if self._coded[name]:
            contents.bytes_contents.extend([self._texts[code] for code in piece.tolist()])
        else:
            to_typed(piece, contents)
        return contents.SerializeToString()

    def _template(self, names: Iterable[str] = (), arrays: Iterable[Array] = ()) -> bytes:
        info = self.served.info
        template = pb.ModelInferResponse(model_name=self._name, model_version=str(info.version))
        for name, array in zip(names, arrays):
            template.outputs.add(name=name, datatype=datatype(self._specs[name].dtype), shape=array.shape)
        template.parameters["state_version"].int64_param = info.version
        template.parameters["learned_events"].int64_param = info.learned_events
        return template.SerializeToString()

    def _tensor(self, name: str, array: Array) -> bytes:
        """An output without its contents."""
        kind = datatype(self._specs[name].dtype)
        return pb.ModelInferResponse.InferOutputTensor(name=name, datatype=kind, shape=array.shape).SerializeToString()


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


def _parameter(name: str, text: str) -> bytes:
    response = pb.ModelInferResponse()
    response.parameters[name].string_param = text
    return response.SerializeToString()
