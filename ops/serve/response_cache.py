"""Responses of the Open Inference Protocol: what is alike in all answers of a version is put together once."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from thalweg.ops.serve.request_cache import Head
from thalweg.proto import inference_pb2 as pb
from thalweg.proto.schema import Array, InputError
from thalweg.proto.tensors import datatype, to_raw, to_typed
from thalweg.stream.publication.file_channel import ServedVersion

_DOUBLE = struct.Struct("<d")
_MOST = 64  # forms kept of one version: requests of so many different sizes, or wishes for outputs


def _open_end(staleness: float) -> bytes:
    response = pb.ModelInferResponse()
    response.parameters["staleness_seconds"].double_param = staleness
    return response.SerializeToString()[:-8]  # a double ends the message: any other may stand there


_STALENESS = _open_end(1.0)


class ResponseTemplates:
    """The responses of one model. Any number of threads may ask at once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._newest: _VersionTemplates | None = None

    def response(
        self, served: ServedVersion, outputs: Mapping[str, Array], head: Head, staleness_seconds: float
    ) -> tuple[bytes, int]:
        """The response to a request with this head, as it goes over the wire, and its number of rows.

        Contents are raw; beside them typed ones for who sent such: tritonclient reads the raw ones alone, who sends
        typed contents may read those alone.

        Raises:
            InputError: No output is called as one that is wanted.
        """
        forms = self._newest
        if forms is None or forms.served.predictor is not served.predictor or forms.version != served.info.version:
            forms = self._newest = _VersionTemplates(self._name, served)
        return forms.response(outputs, head, staleness_seconds)


class _VersionTemplates:
    def __init__(self, name: str, served: ServedVersion) -> None:
        self.served = served
        self.version = served.info.version
        self._name = name
        self._specs = served.predictor.outputs
        self._all = tuple(self._specs)
        self._coded = {name: spec.dtype == "bytes" for name, spec in self._specs.items()}
        self._texts = [name.encode() for name in served.predictor.classes] + [b""]  # code -1: nothing is known
        self._framed = [struct.pack("<I", len(text)) + text for text in self._texts]
        self._forms: dict[tuple[object, ...], bytes] = {}

    def response(self, outputs: Mapping[str, Array], head: Head, staleness_seconds: float) -> tuple[bytes, int]:
        for name in head.wanted:
            if name not in self._specs:
                raise InputError(f"output {name!r:.80}: no such output; known: {', '.join(map(repr, self._specs))}")
        names = head.wanted or self._all
        arrays = [outputs[name] for name in names]
        key = (names, *[array.shape for array in arrays])
        form = self._forms.get(key)
        if form is None:
            form = self._form(names, arrays)
            if len(self._forms) < _MOST:
                self._forms[key] = form
        raw = [
            b"".join(_looked_up(self._framed, array)) if self._coded[name] else to_raw(array)
            for name, array in zip(names, arrays)
        ]
        rest = pb.ModelInferResponse(id=head.id, raw_output_contents=raw).SerializeToString()
        # parts of a message that are written one after the other are one message
        content = b"".join((form, _STALENESS, _DOUBLE.pack(staleness_seconds), rest))
        return (self._with_typed(content, arrays) if head.typed else content), len(arrays[0])

    def _with_typed(self, content: bytes, arrays: Iterable[Array]) -> bytes:
        response = pb.ModelInferResponse.FromString(content)
        for tensor, array in zip(response.outputs, arrays):
            if self._coded[tensor.name]:
                tensor.contents.bytes_contents.extend(_looked_up(self._texts, array))
            else:
                to_typed(array, tensor.contents)
        return response.SerializeToString()

    def _form(self, names: Iterable[str], arrays: Iterable[Array]) -> bytes:
        info = self.served.info
        form = pb.ModelInferResponse(model_name=self._name, model_version=str(info.version))
        for name, array in zip(names, arrays):
            form.outputs.add(name=name, datatype=datatype(self._specs[name].dtype), shape=array.shape)
        form.parameters["state_version"].int64_param = info.version
        form.parameters["learned_events"].int64_param = info.learned_events
        return form.SerializeToString()


def _looked_up(texts: list[bytes], codes: Array) -> list[bytes]:
    return [texts[code] for code in codes.reshape(-1).tolist()]
