"""Sound records and requests, and what chance makes of them: a mutating generator that a seed decides."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from tests.samples import sample
from thalweg.proto import inference_pb2 as pb
from thalweg.proto import thalweg_pb2
from thalweg.proto.encode import EVENT_BATCH_HEADERS, EVENT_HEADERS, to_event_batch, to_events, to_json
from thalweg.proto.records import Headers
from thalweg.stream.log.log import Message as Record

_STRUCTURED: Headers = (("content-type", b"application/cloudevents+json"),)
_BINARY: Headers = (("ce_id", b"1"), ("ce_source", b"s"), ("ce_specversion", b"1.0"), ("ce_type", b"t"))
_FORMS: dict[Headers, Message] = {
    EVENT_HEADERS: thalweg_pb2.Event(),
    EVENT_BATCH_HEADERS: thalweg_pb2.EventBatch(),
}
_TOKENS = [
    *(b"null", b"true", b"NaN", b"-Infinity", b"1e400", b"-1e308", b"5e-324", b"9" * 400, b"-0", b"1.5", b'""', b"{}"),
    *(b"[]", b'"\\ud800"', b'"\xff\xfe"', b"\xef\xbb\xbf", b"\0", b"[" * 100, b'{"a":' * 70, b'"' + b"a" * 1100 + b'"'),
    *(b'"label":', b'"id":', b'"time":', b'"inputs":', b'"key":', b'"weight":', b",", b":", b"}", b"]", b" ", b"\n"),
    *(b"\xff\xff\xff\xff\x7f", b"\x80" * 10, b"\x00\x00\x00\x80", b"\x7f\xf0\x00\x00\x00\x00\x00\x00"),
]


_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**30, 0.5, -0.0, 1e300, -1e300, 5e-324, 3.4e38),
    *("", "a", "1", "NaN", "\0", "\ud800", "a" * 1100, "2026-01-01T00:00:00Z", "label", "FP32", "BYTES"),
    *([], {}, [1.0, 2.0], [[]], {"a": 1}, 1.7e9, 1.7e12, 1.7e18, 1e15, float("inf"), float("nan")),
]


class Mutator:
    """Changes records as a damaged line, a careless producer or an attacker would."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def __call__(self, value: bytes, others: Sequence[bytes], message: Message | None = None) -> bytes:
        """`value` after one to four changes; parts of `others` may be spliced in.

        Two times in three only values are changed, and the form stays: that of JSON, or of `message`'s kind.
        """
        for _ in range(self.chance.choice((1, 1, 1, 2, 4))):
            if self.chance.random() < 0.33:
                value = self._changed(value, others)
            elif message is not None:
                value = self._other_field(value, message)
            else:
                value = self._other_value(value)
        return value

    def _other_value(self, value: bytes) -> bytes:
        """JSON with another value, key or length somewhere."""
        try:
            document = json.loads(value)
        except (ValueError, RecursionError):
            return value
        places = [(document, key) for key in _keys(document)]
        for holder, key in places:  # grows: all places, the outermost first
            places.extend((holder[key], inner) for inner in _keys(holder[key]))
        if not places:
            return value
        holder, key = self.chance.choice(places)
        kind = self.chance.random()
        if kind < 0.6:
            holder[key] = self.chance.choice(_VALUES)
        elif kind < 0.75:
            del holder[key]
        elif isinstance(holder, list):
            holder.insert(0, holder[key])
        else:
            holder[self.chance.choice(["label", "id", "time", "weight", "key", "inputs", "x", ""])] = holder[key]
        return json.dumps(document).encode("utf-8", "surrogatepass")

    def _other_field(self, value: bytes, message: Message) -> bytes:
        """A message of protobuf with another value in one field somewhere."""
        message = type(message)()
        try:
            message.ParseFromString(value)
        except DecodeError:
            return value
        places: list[tuple[Message, FieldDescriptor]] = []
        inner = [message]
        for one in inner:  # grows
            for field in one.DESCRIPTOR.fields:
                places.append((one, field))
                if field.type == field.TYPE_MESSAGE and field.is_repeated and not _is_map(field):
                    inner.extend(getattr(one, field.name))
        holder, field = self.chance.choice(places)
        if _is_map(field) or field.type == field.TYPE_MESSAGE or self.chance.random() < 0.1:
            holder.ClearField(field.name)
            return bytes(message.SerializeToString())
        try:
            self._set(holder, field)
        except (ValueError, TypeError, OverflowError):  # out of the field's range
            return value
        return bytes(message.SerializeToString())

    def _set(self, holder: Message, field: FieldDescriptor) -> None:
        old = getattr(holder, field.name)
        if not field.is_repeated:
            setattr(holder, field.name, self._like(field, old))
        elif len(old) and self.chance.random() < 0.7:
            at = self.chance.randrange(len(old))
            old[at] = self._like(field, old[at])
        else:
            old.append(self._like(field, None))

    def _like(self, field: FieldDescriptor, old: Any) -> Any:
        """A value that the field may hold."""
        if field.type == field.TYPE_BYTES:
            return self._changed(old or b"", [b"\0" * 16])
        texts = [value for value in _VALUES if isinstance(value, str) and value != "\ud800"]
        numbers = [value for value in _VALUES if isinstance(value, (int, float))]
        if field.type == field.TYPE_STRING:
            return self.chance.choice(texts)
        value = self.chance.choice(numbers)
        return value if field.type in (field.TYPE_DOUBLE, field.TYPE_FLOAT) else int(value)

    def _changed(self, value: bytes, others: Sequence[bytes]) -> bytes:
        chance = self.chance
        at, kind = chance.randint(0, len(value)), chance.randrange(7)
        end = min(len(value), at + chance.choice((1, 1, 2, 4, 16, 200)))
        if kind == 0 and at < len(value):
            return value[:at] + bytes([value[at] ^ 1 << chance.randrange(8)]) + value[at + 1 :]
        if kind == 1:
            return value[:at] + value[end:]
        if kind == 2:
            return value[:at]
        if kind == 3:
            return value[:end] + value[at:]
        if kind == 4:
            other = chance.choice(others)
            return value[:at] + other[chance.randint(0, len(other)) :]
        if kind == 5:
            return value[:at] + chance.randbytes(chance.randint(1, 8)) + value[end:]
        return value[:at] + chance.choice(_TOKENS) + value[end if chance.random() < 0.5 else at :]


def _keys(document: Any) -> list[Any]:
    if isinstance(document, list):
        return list(range(len(document)))
    return list(document) if isinstance(document, dict) else []


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _cloud_event(content: bytes, number: int) -> bytes:
    head = {"specversion": "1.0", "id": str(number), "source": "s", "type": "t", "time": "2026-01-01T00:00:00Z"}
    return json.dumps({**head, "data": json.loads(content)}).encode()


def sound_records(learner: str, count: int) -> list[Record]:
    """Records that this learner's sample takes, `count` of each format."""
    batch = sample(learner).events(count)
    return [
        *(Record(value) for value in to_json(batch)),
        *(Record(value, headers=EVENT_HEADERS) for value in to_events(batch)),
        *(Record(to_event_batch(part), headers=EVENT_BATCH_HEADERS) for part in batch.micro_batches(3)),
        *(Record(_cloud_event(value, n), headers=_STRUCTURED) for n, value in enumerate(to_json(batch))),
        *(Record(value, headers=_BINARY) for value in to_json(batch)),
    ]


class Records:
    """An endless stream of records for one learner: nine of ten are changed."""

    def __init__(self, learner: str, seed: int) -> None:
        self._mutate = Mutator(seed)
        self._sound = sound_records(learner, 60)
        self._values = [message.value or b"" for message in self._sound]

    def take(self, count: int) -> list[Record]:
        return [self._one() for _ in range(count)]

    def _one(self) -> Record:
        chance = self._mutate.chance
        message = chance.choice(self._sound)
        if chance.random() < 0.1:
            return message
        headers = message.headers if chance.random() < 0.95 else chance.choice(self._sound).headers
        form = _FORMS.get(headers)
        return Record(self._mutate(message.value or b"", self._values, form), headers=headers)


class Requests:
    """An endless stream of bodies for REST and messages for gRPC, for a model with `features`, float32."""

    def __init__(self, model: str, features: int, seed: int) -> None:
        self._mutate = Mutator(seed)
        self._bodies = [self._body(features, n) for n in range(20)]
        self._messages = [self._message(model, features, n) for n in range(20)]

    def body(self) -> bytes:
        return self._perhaps(self._bodies, None)

    def message(self) -> bytes:
        return self._perhaps(self._messages, pb.ModelInferRequest())

    def _perhaps(self, sound: Sequence[bytes], form: Message | None) -> bytes:
        one = self._mutate.chance.choice(sound)
        return one if self._mutate.chance.random() < 0.1 else self._mutate(one, sound, form)

    @staticmethod
    def _body(features: int, n: int) -> bytes:
        rows = 1 + n % 3
        data = np.random.default_rng(n).normal(size=rows * features).round(3).tolist()
        tensor = {"name": "features", "datatype": "FP32", "shape": [rows, features], "data": data}
        more = [{}, {"id": f"r{n}"}, {"outputs": [{"name": "label"}]}, {"parameters": {"explain": True}}][n % 4]
        return json.dumps({"inputs": [tensor], **more}).encode()

    @staticmethod
    def _message(model: str, features: int, n: int) -> bytes:
        rows = 1 + n % 3
        request = pb.ModelInferRequest(model_name=model, id=f"r{n}" if n % 2 else "")
        request.inputs.add(name="features", datatype="FP32", shape=[rows, features])
        values = np.random.default_rng(n).normal(size=rows * features).astype(np.float32)
        if n % 3:
            request.raw_input_contents.append(values.tobytes())
        else:
            request.inputs[0].contents.fp32_contents.extend(values.tolist())
        if n % 4 == 0:
            request.outputs.add(name="label")
        if n % 5 == 0:
            request.parameters["min_state_version"].int64_param = 1
        return bytes(request.SerializeToString())
