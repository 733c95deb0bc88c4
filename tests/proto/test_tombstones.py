"""Records that say that their key was deleted are no invalid ones; whatever else has nothing in it is."""

from __future__ import annotations

import pytest

from thalweg.proto.decode import Decoder
from thalweg.proto.records import Headers, Partition, Records
from thalweg.proto.rows.column import Column
from thalweg.proto.rows.fields import FieldMapping
from thalweg.proto.schema import Schema, TensorSpec, column_specs

TENSORS = Schema({"x": TensorSpec("x", "float32", (2,))}, "class")
_COLUMNS = {"a": Column(name="a", kind="numeric")}
ROWS = Schema(column_specs(_COLUMNS), "class", fields=FieldMapping(label="y", id="id"), columns=_COLUMNS)
GOOD = {"tensors": b'{"inputs": {"x": [1, 2]}, "label": "a"}', "rows": b'{"a": 1, "y": "a"}'}
DECODERS = {"tensors": Decoder(TENSORS), "rows": Decoder(ROWS)}


def records(values: list[bytes | None], headers: Headers = ()) -> Records:
    count = len(values)
    return Records(Partition("t", 0), range(count), [1.7e9] * count, [b"k"] * count, values, [headers] * count)


@pytest.mark.parametrize("kind", ["tensors", "rows"])
@pytest.mark.parametrize("value", [None, b"null", b" null\r\n"])
@pytest.mark.parametrize("headers", [(), (("ce_id", b"1"), ("ce_source", b"s"), ("ce_specversion", b"1.0"))])
def test_a_tombstone_is_counted_as_one_and_the_events_around_it_are_as_without_it(
    kind: str, value: bytes | None, headers: Headers
) -> None:
    good, decoder = GOOD[kind], DECODERS[kind]

    found = decoder.decode(records([value, good, value, good, b"[]"], headers))
    alone = decoder.decode(records([value], headers))

    assert (found.tombstones, len(found.batch), [one.row for one in found.rejected]) == (2, 2, [4])
    assert (alone.tombstones, len(alone.batch), alone.rejected) == (1, 0, [])


@pytest.mark.parametrize("kind", ["tensors", "rows"])
@pytest.mark.parametrize(
    "value", [b"", b"nul", b'"null"', b"[null]", b"{}", b'{"payload":null}', b"null null", b"\0null"]
)
def test_what_is_no_tombstone_stays_invalid(kind: str, value: bytes) -> None:
    found = DECODERS[kind].decode(records([value, GOOD[kind]]))

    assert (found.tombstones, len(found.batch) + len(found.rejected)) == (0, 2)
