"""Files of event sequences: the stream they were recorded from, in the order of its times."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.rejected import Rejected
from thalweg.proto.schema import Schema, TensorSpec
from thalweg.stream.sources.files import CsvMapping, FileError, read_events

SCHEMA = Schema({"key": TensorSpec("key", "bytes", ())}, "class")


def written(folder: Path, *lines: Any) -> Path:
    path = folder / "sequences.jsonl.gz"
    with gzip.open(path, "wt") as file:
        for line in lines:
            file.write(f"{line if isinstance(line, str) else json.dumps(line)}\n")
    return path


def read(path: Path, time_unit: float = 1.0, **options: Any) -> tuple[list[tuple[float, str, str]], list[Rejected]]:
    """Time, key and type of each event; what could not be used."""
    events, rejected = [], []
    for part in read_events(path, SCHEMA, CsvMapping(time_unit=time_unit), **options):
        batch: Batch = part.batch
        assert isinstance(batch.labels, ClassLabels)
        names = [batch.labels.names[code] for code in batch.labels.codes]
        events += list(zip(batch.times.tolist(), [key.decode() for key in batch.inputs["key"]], names))
        rejected += part.rejected
    return events, rejected


def test_sequences_are_told_as_single_events_in_the_order_of_their_times(tmp_path: Path) -> None:
    path = written(tmp_path, {"key": "a", "t": [1.0, 3.0], "k": [0, 1]}, {"key": "b", "t": [0.5, 2.0], "k": [1, 2]})

    events, rejected = read(path, time_unit=10.0)

    assert events == [(5.0, "b", "1"), (10.0, "a", "0"), (20.0, "b", "2"), (30.0, "a", "1")]
    assert rejected == []


def test_published_gaps_go_before_differences_of_times(tmp_path: Path) -> None:
    path = written(tmp_path, {"key": "a", "t": [7.0, 100.0], "dt": [0.0, 2.5], "k": [0, 1]})

    assert read(path)[0] == [(0.0, "a", "0"), (2.5, "a", "1")]


def test_sequences_that_all_begin_at_nought_are_begun_one_after_the_other(tmp_path: Path) -> None:
    path = written(tmp_path, *({"key": f"s{i}", "t": [0.0, 1.0, 2.0], "k": [0, 1, 0]} for i in range(50)))

    events, _ = read(path)

    begins = [time for time, key, kind in events if kind == "0"]
    assert len(set(begins)) > 50
    for number in range(50):
        times = [time for time, key, _ in events if key == f"s{number}"]
        np.testing.assert_allclose(np.diff(times), 1.0)
    assert events == read(path)[0]  # the same each time


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_a_limit_counts_events(tmp_path: Path, chunk: int) -> None:
    path = written(tmp_path, {"key": "a", "t": [1.0, 2.0, 3.0, 4.0, 5.0], "k": [0, 1, 0, 1, 0]})

    assert len(read(path, limit=4, chunk=chunk)[0]) == 4


def test_lines_that_are_no_sequence_are_named_and_the_others_are_read(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"key": "a", "t": [1.0], "k": [0]},
        "not json",
        {"key": "b", "t": [2.0, 1.0], "k": [0, 0]},
        {"key": "c", "t": [1.0, 2.0], "k": [0]},
        {"key": "d", "t": ["x"], "k": [0]},
        {"t": [1.0], "k": [0]},
        {"key": "e", "t": [], "k": []},
        "",
        {"key": "f", "t": [9.0], "k": ["buy"]},
    )

    events, rejected = read(path)

    assert events == [(1.0, "a", "0"), (9.0, "f", "buy")]
    assert [one.row for one in rejected] == [2, 3, 4, 5, 6]
    assert "ascending order" in rejected[1].detail
    assert "as many types as times" in rejected[2].detail


def test_a_key_or_a_type_that_utf8_cannot_hold_is_named(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"key": "\ud800", "t": [1.0], "k": [0]},
        {"key": "a", "t": [1.0], "k": ["\udfff"]},
        {"key": "b", "t": [2.0], "k": [1]},
    )

    events, rejected = read(path)

    assert events == [(2.0, "b", "1")]
    assert [one.detail.partition(":")[0] for one in rejected] == ["key", "k.0"]


def test_a_model_of_other_events_is_told_so(tmp_path: Path) -> None:
    path = written(tmp_path, {"key": "a", "t": [1.0], "k": [0]})
    schema = Schema({"features": TensorSpec("features", "float64", (2,))}, "class")

    with pytest.raises(FileError, match="expected a model with one input 'key' of bytes"):
        list(read_events(path, schema))
