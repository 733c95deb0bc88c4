"""Requests that are small on the wire and large in memory, of every form that a server takes."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from thalweg.proto import inference_pb2 as pb
from thalweg.proto import thalweg_pb2

INFER, STREAM_INFER = "inference.GRPCInferenceService/ModelInfer", "inference.GRPCInferenceService/ModelStreamInfer"
LEARNING = "thalweg.v1.LearningService/"


class Asked(NamedTuple):
    """One request."""

    where: str
    """A path of HTTP, or a method of gRPC."""
    body: bytes
    headers: Mapping[str, str] = {}
    times: int = 1
    """Messages of a stream."""


def number(value: int) -> bytes:
    """As protobuf writes it."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes(found) + bytes([value])


def field(place: int, content: bytes) -> bytes:
    return number(place << 3 | 2) + number(len(content)) + content


def infer(model: str, *tensors: tuple[str, str, list[int], bytes], raw: bool = False, more: bytes = b"") -> bytes:
    """A request with these contents, as protobuf writes them: typed contents, or raw ones."""
    inputs = b"".join(field(5, one_input(*tensor[:3], b"" if raw else tensor[3])) for tensor in tensors)
    values = b"".join(field(7, contents) for *_, contents in tensors) if raw else b""
    return field(1, model.encode()) + inputs + more + values


def one_input(name: str, kind: str, shape: list[int], contents: bytes = b"") -> bytes:
    tensor = field(1, name.encode()) + field(2, kind.encode()) + field(3, b"".join(map(number, shape)))
    return tensor + field(5, contents) if contents else tensor


def floats(count: int) -> bytes:
    return field(6, b"\x00\x00\x80\x3f" * count)


def explained(entries: int) -> bytes:
    request = pb.ModelInferRequest()
    request.parameters["explain"].int64_param = entries
    return request.SerializeToString()


def rest(path: str, body: object, *, query: str = "", **headers: str) -> Asked:
    text = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
    return Asked(f"/{path}{query}", text, {"content-type": "application/json", **headers})


def zipped(asked: Asked) -> Asked:
    return asked._replace(body=zlib.compress(asked.body, 6), headers={**asked.headers, "content-encoding": "deflate"})


def many(item: str, count: int) -> bytes:
    """A JSON list of this item."""
    return b"[" + ",".join([item] * count).encode() + b"]"


def tensor(data: bytes, shape: list[int], name: str = "features", kind: str = "FP32") -> bytes:
    head = json.dumps({"name": name, "datatype": kind, "shape": shape})
    return b'{"inputs":[' + head[:-1].encode() + b',"data":' + data + b"}]}"


def message(kind: type[Message], name: str, text: str) -> bytes:
    return kind(**{name: text}).SerializeToString()


def texts(count: int) -> bytes:
    return b"\x42\x02ab" * count  # bytes_contents


def columns(count: int, raw: bool) -> bytes:
    some = b"\x02\x00\x00\x00ab" * count if raw else texts(count)
    inputs = [("country", "BYTES", [count], some), ("note", "BYTES", [count], some)]
    amounts = b"\x00\x00\x80\x3f" * count
    return infer("columns", ("amount", "FP32", [count], amounts if raw else field(6, amounts)), *inputs, raw=raw)


KINDS: Mapping[str, Callable[[int], Asked]] = {
    "rows of one number, typed": lambda m: Asked(INFER, infer("one", ("features", "FP32", [4 * m, 1], floats(4 * m)))),
    "rows of one number, raw": lambda m: Asked(
        INFER, infer("one", ("features", "FP32", [4 * m, 1], b"\x00\x00\x80\x3f" * 4 * m), raw=True)
    ),
    "rows of no number": lambda m: Asked(INFER, infer("one", ("features", "FP32", [268 * m, 0], b""))),
    "numbers of one byte": lambda m: Asked(
        INFER,
        infer(
            "memory",
            ("user", "INT64", [4 * m], field(3, b"\x01" * 4 * m)),
            ("item", "INT64", [4 * m], field(3, b"\x01" * 4 * m)),
        ),
    ),
    "short texts, typed": lambda m: Asked(INFER, columns(m, raw=False)),
    "short texts, raw": lambda m: Asked(INFER, columns(m, raw=True)),
    "texts of no length": lambda m: Asked(INFER, infer("sequences", ("key", "BYTES", [2 * m], b"\x42\x00" * 2 * m))),
    "texts beside their shape": lambda m: Asked(
        INFER, infer("sequences", ("key", "BYTES", [1], b"\x02\x00\x00\x00ab" * 3 * m), raw=True)
    ),
    "empty inputs": lambda m: Asked(INFER, field(1, b"one") + b"\x2a\x00" * 8 * m),
    "empty outputs": lambda m: Asked(INFER, field(1, b"one") + b"\x32\x00" * 8 * m),
    "empty parameters, cut short": lambda m: Asked(INFER, field(1, b"one") + b"\x22\x00" * 8 * m + b"\x22"),
    "unknown fields": lambda m: Asked(INFER, field(1, b"one") + b"\xa8\x06\x01" * 5 * m),
    "outputs named again and again": lambda m: Asked(
        INFER,
        infer("classes", ("features", "FP32", [100, 1], floats(100)), more=field(6, field(1, b"scores")) * (m // 10)),
    ),
    "many classes, raw": lambda m: Asked(
        INFER, infer("classes", ("features", "FP32", [m // 5, 1], b"\x00\x00\x80\x3f" * (m // 5)), raw=True)
    ),
    "many classes, rows": lambda m: rest("v1/models/classes/predict", many("[1]", m // 33)),
    "many classes, tensors": lambda m: rest("v2/models/classes/infer", tensor(many("1", m // 10), [m // 10, 1])),
    "names of classes": lambda m: Asked(
        INFER,
        infer("classes", ("features", "FP32", [m // 20, 1], floats(m // 20)), more=field(6, field(1, b"classes"))),
    ),
    "explained": lambda m: Asked(INFER, infer("columns_only", ("amount", "FP32", [m], floats(m)), more=explained(10))),
    "explained rows": lambda m: rest(
        "v1/models/columns_only/predict", many('{"amount":1}', m // 3), query="?explain=1000000"
    ),
    "rows as lists": lambda m: rest("v1/models/one/predict", many("[1]", 2 * m)),
    "rows as objects": lambda m: rest("v1/models/one/predict", many('{"features":[1]}', m)),
    "rows of columns": lambda m: rest("v1/models/columns/predict", many('{"amount":1,"country":"DE","note":"a b"}', m)),
    "rows with ids": lambda m: rest("v1/models/one/predict", many('{"id":"x","features":[1]}', m)),
    "empty objects": lambda m: rest("v1/models/one/predict", many("{}", 4 * m)),
    "instances": lambda m: rest("v1/models/one:predict", b'{"instances":' + many("[1]", 2 * m) + b"}"),
    "numbers in JSON": lambda m: rest("v2/models/one/infer", tensor(many("1", 4 * m), [4 * m, 1])),
    "long numbers in JSON": lambda m: rest("v2/models/one/infer", tensor(many("9" * 300, m // 25), [m // 25, 1])),
    "nested lists": lambda m: rest(
        "v2/models/one/infer", tensor(many("[" * 50 + "1" + "]" * 50, m // 10), [m // 10, 1])
    ),
    "deep JSON": lambda m: rest("v1/models/one/predict", b"[" * 8 * m + b"]" * 8 * m),
    "texts in JSON": lambda m: rest("v2/models/sequences/infer", tensor(many('"ab"', 2 * m), [2 * m], "key", "BYTES")),
    "escaped texts": lambda m: rest(
        "v2/models/sequences/infer", tensor(many('"\\ud83d\\ude00"', m), [m], "key", "BYTES")
    ),
    "keys of an object": lambda m: rest(
        "v1/models/one/predict", b"{" + b",".join(b'"%d":0' % one for one in range(m)) + b"}"
    ),
    "rows, packed": lambda m: zipped(rest("v1/models/one/predict", many("[1]", 8 * m))),
    "spaces, packed": lambda m: zipped(rest("v1/models/one/predict", b" " * 200 * m)),
    "events": lambda m: rest(
        "v1/models/one/events", many('{"inputs":{"features":[1]},"label":"a"}', min(9_000, m // 10))
    ),
    "events, too many": lambda m: rest("v1/models/one/events", many("{}", 4 * m)),
    "events of many values": lambda m: rest(
        "v1/models/one/events", b'{"inputs":{"features":' + many("1", 4 * m) + b'},"label":"a"}'
    ),
    "logged requests, packed": lambda m: rest(
        "v1/models/one/events",
        gzip.compress(b'{"instances":' + many("[1]", 4 * m) + b"}"),
        **{
            "ce-type": "org.kubeflow.serving.inference.request",
            "ce-id": "1",
            "ce-source": "s",
            "ce-specversion": "1.0",
        },
    ),
    "labels, too many": lambda m: rest("v1/models/late/labels", many('{"id":"a","label":"b"}', m)),
    "a stream of rows": lambda m: Asked(
        STREAM_INFER, infer("one", ("features", "FP32", [2 * m, 1], floats(2 * m))), times=4
    ),
    "a stream of events": lambda m: Asked(
        LEARNING + "Learn",
        thalweg_pb2.Event(model="one").SerializeToString()
        + field(4, one_input("features", "FP32", [2 * m], floats(2 * m))),
        times=40,
    ),
    "a name of megabytes": lambda m: Asked(
        LEARNING + "GetModel", message(thalweg_pb2.GetModelRequest, "name", "a" * 16 * m)
    ),
    "rows over gRPC": lambda m: Asked(
        LEARNING + "Predict", thalweg_pb2.PredictRequest(model="classes", rows=many("[1]", m // 5)).SerializeToString()
    ),
    "health of a long name": lambda m: Asked(
        "grpc.health.v1.Health/Check", message(health_pb2.HealthCheckRequest, "service", "a" * 16 * m)
    ),
    "reflection": lambda m: Asked(
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        message(reflection_pb2.ServerReflectionRequest, "file_containing_symbol", "a" * 16 * m),
        times=3,
    ),
}
"""Each of a size: with a million, from half a megabyte to forty."""
