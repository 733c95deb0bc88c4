"""`thalweg produce`: what it appends, to which topics, and in which runs."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.ops.cli.test_main import CONFIG, thalweg
from thalweg.ops.cli import produce
from thalweg.ops.cli.produce import append_events, run_length
from thalweg.proto.records import Partition
from thalweg.proto.schema import Schema, TensorSpec
from thalweg.stream.learn.blocks import gather
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Appended, Message
from thalweg.stream.log.sqlite import SqliteLog
from thalweg.stream.sources.files import CsvMapping

SCHEMA = Schema({"x": TensorSpec("x", "float32", (2,))}, "class")


class CountingLog(InMemoryLog):
    """Remembers the length of each append."""

    def __init__(self) -> None:
        super().__init__()
        self.lengths: list[int] = []

    def append(self, topic: str, messages: Sequence[Message]) -> list[Appended]:
        self.lengths.append(len(messages))
        return super().append(topic, messages)


def csv_with_bad_lines(folder: Path, events: int) -> Path:
    path = folder / "stream.csv"
    lines = [f"{row},1,u" + ("\nx,1,u" if row % 700 == 3 else "") for row in range(events)]
    path.write_text("\n".join(["a,b,label", *lines, ""]))
    return path


class Clock:
    """Goes on only while somebody sleeps."""

    now = 1.7e9

    def time(self) -> float:
        return self.now

    monotonic = time

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_events_are_produced_as_fast_as_asked_for_and_no_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, log = Clock(), InMemoryLog()
    monkeypatch.setattr(produce, "time", clock)
    path = tmp_path / "stream.csv"
    path.write_text("a,b,label\n" + "1,2,u\n" * 100)

    told = list(append_events(log, "t", path, SCHEMA, CsvMapping(), 400, 1, None))

    assert sum(count for count, _ in told) == 100
    (records,) = log.reader(["t"], {}).poll(1.0)
    happened = [json.loads(value or b"")["time"] for value in records.values]
    assert happened == pytest.approx([1.7e9 + row // 20 * 20 / 400 for row in range(100)], abs=1e-6)


@pytest.mark.parametrize("batch_events", [64, 10, 1500])
def test_a_service_that_reads_what_was_produced_cuts_whole_micro_batches(tmp_path: Path, batch_events: int) -> None:
    log = CountingLog()
    path = csv_with_bad_lines(tmp_path, 3100)

    told = list(append_events(log, "t", path, SCHEMA, CsvMapping(), None, 1, None, batch_events))

    assert sum(count for count, _ in told) == sum(log.lengths) == 3100
    assert len([line for _, lines in told for line in lines]) == 5
    assert len(log.lengths) > 1
    assert all(length % batch_events == 0 for length in log.lengths[:-1])
    reader = log.reader(["t"], {})
    blocks = []
    while block := gather(reader, batch_records=batch_events, batch_seconds=0, idle_seconds=0, max_bytes=1 << 30):
        blocks.append(len(block))
    assert sum(blocks) == 3100
    assert all(length % batch_events == 0 for length in blocks[:-1])


def test_runs_are_whole_records_and_whole_micro_batches_where_the_rate_allows() -> None:
    assert run_length(None, 1, 64) == 960
    assert run_length(None, 250, 64) == 8000
    assert run_length(None, 1, 4096) == 4096
    assert run_length(None, 999_983, 64) == 999_983  # in runs of 64 million events nothing would arrive for long
    assert run_length(2000, 1, 64) == 64
    assert run_length(400, 1, 64) == 20  # evenly, in twenty steps a second


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "thalweg.toml"
    text = CONFIG.format(folder=tmp_path).replace("batch_events", 'labels_topic = "m.labels"\nbatch_events')
    second = text[text.index("[[model]]") :].replace('"m"', '"n"').replace("m.labels", "n.labels")
    path.write_text(text + second)
    return str(path)


@pytest.mark.slow
def test_labels_are_appended_as_they_are_to_a_labels_topic(config: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    good = ['{"id": "e-17", "label": 3}', '{"id": 18,  "label": "up"}']
    bad = ['{"inputs": {"x": [1, 2]}}', '{"id": "e-19", "label": null}', '{"id": "", "label": 1}', "no JSON"]
    path.write_text("\n".join([good[0], *bad, "", "null", good[1], " null", ""]))

    done = thalweg("produce", config, "--topic", "m.labels", "--input", str(path))

    assert done.returncode == 1
    assert "appended 2 labels to m.labels" in done.stdout
    assert "error: 4 lines were left out: 2 malformed, 2 bad_label" in done.stderr
    assert 'line 2: malformed: expected {"id": …, "label": …}' in done.stderr
    assert "line 3: bad_label: expected an id and a label" in done.stderr
    assert "2 of the lines are null, which says that a key was deleted" in done.stdout + done.stderr
    log = SqliteLog(tmp_path / "log.db")
    (records,) = log.reader(["m.labels"], {}).poll(1.0)
    log.close()
    assert records.partition == Partition("m.labels", 0)
    assert [value for value in records.values if value] == [line.encode() for line in good]
    assert list(records.keys) == [b"e-17", b"18"]


@pytest.mark.slow
def test_what_is_no_file_of_labels_is_refused(config: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("id,label\n1,2\n")

    table = thalweg("produce", config, "--topic", "m.labels", "--input", str(path))
    several = thalweg("produce", config, "--topic", "m.labels", "--input", str(path), "--batch", "2")

    assert (
        table.returncode,
        "labels.csv: expected .jsonl, .ndjson or .json (those of text also with .gz, .bz2, .xz or .zip)"
        in table.stderr,
    ) == (1, True)
    assert (several.returncode, "--batch: expected 1 for the labels topic" in several.stderr) == (2, True)


@pytest.mark.slow
def test_an_unknown_topic_is_refused_with_each_known_topic_once(config: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(json.dumps({"id": "e", "label": 1}))

    done = thalweg("produce", config, "--topic", "other", "--input", str(path))

    assert done.returncode == 2
    assert "known: m.events, m.labels, n.labels\n" in done.stderr


def test_a_line_dated_far_ahead_of_now_is_left_out(tmp_path: Path) -> None:
    path, log = tmp_path / "a.jsonl", InMemoryLog()
    lines = [{"inputs": {"x": [1, 2]}, "time": moment} for moment in (time.time(), time.time() + 1e7)]
    path.write_text("\n".join(map(json.dumps, lines)))
    schema = Schema({"x": TensorSpec("x", "float32", (2,))})

    steps = list(append_events(log, "t", path, schema, CsvMapping(), None, 1, None))

    assert sum(count for count, _ in steps) == 1
    assert [one.reason for _, rejected in steps for one in rejected] == ["invalid_time"]
