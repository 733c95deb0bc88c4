"""A number beyond the range of an input's dtype is told as that, not as NaN or infinity, whatever way it comes in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thalweg.ops.notebook.batches import inputs_of
from thalweg.ops.notebook.frames import FrameError
from thalweg.ops.serve.rows.arrays import array_of
from thalweg.proto import thalweg_pb2 as pb
from thalweg.proto.bounds.number_range import expected_and_got
from thalweg.proto.decode import Decoder
from thalweg.proto.encode import EVENT_HEADERS
from thalweg.proto.event import Decoded
from thalweg.proto.records import Headers, Partition, Records
from thalweg.proto.rows.fields import FieldMapping
from thalweg.proto.schema import Schema, TensorSpec
from thalweg.stream.sources.files import read_events

SCHEMA = Schema({"x": TensorSpec("x", "float32", (2,))})
BEYOND = "expected float32, 3.40282e+38 at most, got 1e+99, which is beyond its range"
NONE = "expected finite numbers, got NaN or infinity"
Row = list[float]


def decode(schema: Schema, rows: list[bytes], headers: Headers = ()) -> list[Decoded]:
    count = len(rows)
    return [
        Decoder(schema).decode(
            Records(Partition("t", 0), list(range(count)), [5.0] * count, [None] * count, rows, [headers] * count)
        )
    ]


def own_form(row: Row, folder: Path) -> list[Decoded]:
    return decode(SCHEMA, [json.dumps({"inputs": {"x": one}}).encode() for one in ([0.0, 1.0], row, [2.0, 3.0])])


def fields(row: Row, folder: Path) -> list[Decoded]:
    rows = [json.dumps({"x": one}).encode() for one in ([0.0, 1.0], row, [2.0, 3.0])]
    return decode(replace(SCHEMA, fields=FieldMapping()), rows)


def protobuf(row: Row, folder: Path) -> list[Decoded]:
    def said(values: Row) -> bytes:
        event = pb.Event(weight=1)
        tensor = event.inputs.add(name="x", datatype="FP32", shape=[2])
        tensor.contents.fp32_contents.extend(values)
        return event.SerializeToString()

    return decode(SCHEMA, [said(one) for one in ([0.0, 1.0], row, [2.0, 3.0])], EVENT_HEADERS)


def csv(row: Row, folder: Path) -> list[Decoded]:
    (folder / "a.csv").write_text("a,b,label\n0,1,\n{},{},\n2,3,\n".format(*row))
    return list(read_events(folder / "a.csv", SCHEMA))


def parquet(row: Row, folder: Path) -> list[Decoded]:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": [[0.0, 1.0], row, [2.0, 3.0]]}), folder / "a.parquet")
    return list(read_events(folder / "a.parquet", replace(SCHEMA, fields=FieldMapping())))


@pytest.mark.parametrize(
    ("form", "value", "said"),
    [
        (own_form, 1e99, BEYOND),
        (own_form, 10**99, BEYOND),
        (fields, 1e99, BEYOND),
        (csv, 1e99, BEYOND),
        (csv, float("nan"), NONE),
        (parquet, 1e99, BEYOND),
        (parquet, float("inf"), NONE),
        (protobuf, float("inf"), NONE),
    ],
)
def test_a_record_says_whether_a_number_is_beyond_the_range_or_none(
    form: Callable[[Row, Path], list[Decoded]], value: Any, said: str, tmp_path: Path
) -> None:
    found = form([0.5, value], tmp_path)

    (rejected,) = [one for part in found for one in part.rejected]
    assert (rejected.reason, rejected.detail) == ("non_finite", f"input 'x': {said}")
    assert sum(len(part.batch) for part in found) == 2


def test_a_request_says_it() -> None:
    for value in (1e99, 10**99):
        with pytest.raises(OverflowError, match="got 1e\\+99, which is beyond its range"):
            array_of([[0.5, value]], "float32")
    with pytest.raises(OverflowError, match="got an integer beyond every float"):
        array_of([10**400], "float64")

    assert array_of([2**70], "float64").tolist() == [2.0**70], "as 2.0**70 is"
    assert array_of([3.4028235e38], "float32").tolist() == [float(np.finfo("float32").max)], "it rounds down"


def test_a_table_of_the_notebook_says_it() -> None:
    for value, said in ((1e99, BEYOND), (float("nan"), NONE)):
        with pytest.raises(FrameError) as refused:
            inputs_of(SCHEMA, np.array([[0.0, 1.0], [0.5, value]]))
        assert str(refused.value) == f"input 'x', row 1: {said}"


def test_texts_that_are_numbers_are_told_apart_from_infinity() -> None:
    assert "got 1e999, which is beyond" in expected_and_got("float64", [["0", "1e999"]])
    assert expected_and_got("float64", ["0", "-Infinity"]) == NONE
