"""Whatever bytes come, every decoder takes them or rejects them with a declared error, and nothing is lost or printed.

A short form runs with the tests; `THALWEG_FUZZ=20000` makes every test try that many examples.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.samples import sample
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.snapshots import FolderSnapshots, InMemorySnapshots, UnknownVersion
from thalweg.memory.snapshots.state import DamagedFile, State
from thalweg.models.contract.registry import BUILT_IN
from thalweg.ops.config.config import load
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.run.app import new_learner, new_monitor, settings_of
from thalweg.proto import thalweg_pb2
from thalweg.proto.bounds.limits import MAX_ID_BYTES, MAX_KEY_BYTES, MAX_LABEL_BYTES
from thalweg.proto.decode import CONTENT_TYPE_EVENT, CONTENT_TYPE_EVENT_BATCH, Decoder
from thalweg.proto.event import Batch, ClassLabels, Decoded, NumberLabels
from thalweg.proto.rejected import REASONS, Refused
from thalweg.proto.schema import Schema, TensorSpec
from thalweg.stream.labels.label_records import label_of
from thalweg.stream.learn.blocks import DecodedBlock
from thalweg.stream.learn.fold import Fold
from thalweg.stream.log.dead_letters import DeadLetters
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message
from thalweg.stream.sources.csv_events import CsvMapping
from thalweg.stream.sources.files import FileError, read_events

fuzzed = settings(
    max_examples=int(os.environ.get("THALWEG_FUZZ", "100")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
SPECS = {
    "x": TensorSpec("x", "float32", (2,)),
    "n": TensorSpec("n", "int64", ()),
    "s": TensorSpec("s", "bytes", ()),
    "b": TensorSpec("b", "bool", (1,)),
}
CLASSES, NUMBERS = Schema(SPECS), Schema(SPECS, "number", 2)
SEQUENCES = Schema({"key": TensorSpec("key", "bytes", ())})
HEADERS: list[Any] = [
    (),
    (("content-type", CONTENT_TYPE_EVENT),),
    (("content-type", CONTENT_TYPE_EVENT_BATCH),),
    (("content-type", b"application/cloudevents+json"),),
    (("ce_id", b"1"), ("ce_source", b"s"), ("ce_specversion", b"1.0"), ("ce_time", b"2026-01-01T00:00:00Z")),
    (("ce_id", b"\xff"), ("ce_source", b"s"), ("ce_specversion", b"1.0")),
    (("content-type", None), ("\ud800", b"")),
]

spikes = st.sampled_from(
    [1e300, -1e300, 1e-310, 5e-324, 3.4e38, 1e39, 2**63, -(2**63) - 1, 10**30, 1e15, 1.7e12, -1, 0, -0.0, True, None]
)
texts = st.text(max_size=5) | st.sampled_from(["\0", "\ufeff", "NaN", "1e400", "2026-01-01T00:00:00Z", "a" * 1100])
values = st.recursive(
    spikes | texts | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(texts, part, max_size=2),
    max_leaves=4,
)
inputs = st.fixed_dictionaries(
    {
        "x": st.lists(spikes | st.just(1.0), min_size=2, max_size=2) | values,
        "n": st.integers(-9, 9) | values,
        "s": texts | values,
        "b": st.just([True]) | values,
    },
    optional={"z": values},
)
fields = {"id": values, "key": values, "time": values, "label": values, "weight": values, "other": values}
documents = st.fixed_dictionaries({"inputs": inputs}, optional=fields) | values


def envelope(data: Any) -> Any:
    return {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": data}


def as_bytes(document: Any, ascii: bool) -> bytes:
    return json.dumps(document, ensure_ascii=ascii).encode("utf-8", "surrogatepass")


def protobuf(kind: int, draw: Callable[[Any], Any]) -> bytes:
    """A message whose parts fit together more or less."""
    message: Any = thalweg_pb2.Event() if kind == 1 else thalweg_pb2.EventBatch(events=draw(st.integers(0, 3)))
    rows = [] if kind == 1 else [message.events]
    for name, dtype, shape in (("x", "<f4", [2]), ("n", "<i8", []), ("s", "S", []), ("b", "?", [1])):
        shape = [*rows, *shape]
        code = {"<f4": "FP32", "<i8": "INT64", "S": "BYTES", "?": "BOOL"}[dtype]
        message.inputs.add(name=name, datatype=draw(st.sampled_from([code] * 9 + ["FP64", ""])), shape=shape)
        count = int(np.prod(shape, dtype=np.int64))
        content = b"\1\0\0\0a" * count if dtype == "S" else bytes(count * np.dtype(dtype).itemsize)
        message.raw_input_contents.append(draw(st.just(content) | st.binary(max_size=9)))
    if kind == 1:
        message.time = draw(st.floats())
        message.weight = draw(st.floats() | st.just(1.0))
        message.label_text = draw(texts.filter(lambda text: "\ud800" not in text))
    else:
        message.times = np.array(draw(st.lists(st.floats(), max_size=3)), "<f8").tobytes()
        message.class_names.extend(draw(st.lists(st.sampled_from(["a", "", "b" * 1100]), max_size=2)))
        message.class_codes = np.array(draw(st.lists(st.integers(-2, 3), max_size=3)), "<i4").tobytes()
    return bytes(message.SerializeToString())


@st.composite
def records(draw: Callable[[Any], Any]) -> tuple[bytes, Any]:
    """A value that is nearly, or not at all, what its headers say."""
    place = draw(st.integers(0, len(HEADERS) - 1))
    if place in (1, 2):
        value = protobuf(place, draw)
    else:
        document = draw(documents)
        value = as_bytes(envelope(document) if place == 3 and draw(st.booleans()) else document, draw(st.booleans()))
    if draw(st.booleans()) and value:
        at = draw(st.integers(0, len(value) - 1))
        value = draw(st.sampled_from([value[:at], value[:at] + draw(st.binary(max_size=4)) + value[at + 1 :]]))
    return value, HEADERS[place]


def sound(part: Decoded) -> None:
    """What was taken keeps every promise of a batch."""
    batch = part.batch
    assert np.isfinite(batch.times).all()
    assert (batch.times >= 0).all()
    assert (np.isfinite(batch.weights) & (batch.weights >= 0)).all()
    assert np.isfinite(batch.inputs["x"]).all() if "x" in batch.inputs else True
    for ids, most in ((batch.ids, MAX_ID_BYTES), (batch.keys, MAX_KEY_BYTES)):
        assert all(len(one.encode()) <= most and one for one in ids or () if one is not None)
    if isinstance(batch.labels, ClassLabels):
        assert all(0 < len(name.encode()) <= MAX_LABEL_BYTES for name in batch.labels.names)
    if isinstance(batch.labels, NumberLabels):
        assert not np.isinf(batch.labels.values).any()
    for one in part.rejected:
        assert one.reason in REASONS
        assert len(one.detail.encode()) <= 4100  # also: it can be written as a header


@given(run=st.lists(records(), min_size=1, max_size=4), schema=st.sampled_from([CLASSES, NUMBERS]))
@fuzzed
def test_every_record_is_taken_or_kept_byte_for_byte_as_a_dead_letter(
    run: list[tuple[bytes, Any]], schema: Schema
) -> None:
    log = InMemoryLog(lambda: 1.8e9)
    headers = [tuple(pair for pair in one if pair[0] != "\ud800") for _, one in run]
    log.append("t", [Message(value, headers=given) for (value, _), given in zip(run, headers)])
    (block,) = log.reader(["t"], {}).poll(0.0)

    part = Decoder(schema, max_future_seconds=3600.0).decode(block)

    sound(part)
    taken = set() if part.batch.places is None else set(part.batch.places.offsets.tolist())
    lost = set(range(len(run))) - taken - {one.row for one in part.rejected}
    assert all(headers[row] == HEADERS[2] for row in lost), "only an EventBatch may hold no event"
    letters = DeadLetters(log, "t", "m")
    letters.send(block, part.rejected)
    kept = [letter.value for letter in letters.newest(100)]
    assert sorted(kept) == sorted(run[one.row][0] for one in part.rejected)  # type: ignore[type-var]


@given(document=documents | values, ascii=st.booleans(), schema=st.sampled_from([CLASSES, NUMBERS]))
@fuzzed
def test_a_label_record_is_a_label_or_refused(document: Any, ascii: bool, schema: Schema) -> None:
    reasons: set[str] = set()
    for value in (document, {"id": 1, "label": document}, {"id": document, "label": 1}):
        try:
            record = label_of(as_bytes(value, ascii), schema)
        except Refused as refused:
            reasons.add(refused.reason)
        else:
            assert 0 < len(str(record.id).encode()) <= MAX_ID_BYTES
    assert reasons <= set(REASONS)


cells = st.text("01.-e\"',\n_ a\u0663", max_size=6) | st.sampled_from(
    ["1e400", "nan", "1e300", "5e-324", "True", "a" * 1100]
)


@given(
    rows=st.lists(st.lists(cells, min_size=6, max_size=8), max_size=5), quoted=st.booleans(), junk=st.binary(max_size=9)
)
@fuzzed
def test_a_csv_file_is_read_line_by_line_or_refused_as_a_whole(
    rows: list[list[str]], quoted: bool, junk: bytes, tmp_path: Path
) -> None:
    lines = [",".join(f'"{cell}"' if quoted else cell for cell in row) for row in rows]
    (tmp_path / "a.csv").write_bytes(b"a,b,n,s,b0,label,time,id\n" + "\n".join(lines).encode() + b"\n" + junk)
    mapping = CsvMapping(time="time", id="id", inputs={"x": ["a", "b"], "n": ["n"], "s": ["s"], "b": ["b0"]})

    try:
        for part in read_events(tmp_path / "a.csv", CLASSES, mapping):
            sound(part)
    except FileError:
        pass


sequences = st.fixed_dictionaries(
    {
        "key": values,
        "t": st.lists(spikes | st.floats(), max_size=3) | values,
        "k": st.lists(values, max_size=3) | values,
    },
    optional={"dt": st.lists(spikes, max_size=3)},
)


@given(lines=st.lists(sequences | values, max_size=4), unit=st.sampled_from([1.0, 1e-3, 1e300]))
@fuzzed
def test_a_file_of_sequences_is_read_line_by_line(lines: list[Any], unit: float, tmp_path: Path) -> None:
    first = {"key": "a", "t": [1, 2], "k": [0, 1]}
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(as_bytes(line, True) for line in [first, *lines]))

    for part in read_events(tmp_path / "a.jsonl", SEQUENCES, CsvMapping(time_unit=unit)):
        sound(part)


MANIFEST = Manifest(
    model="m",
    version=1,
    parent=None,
    learner="ridge",
    config_sha256="",
    identity={},
    offsets={},
    events_learned=0,
    created=0.0,
    metrics={},
)


@given(change=st.tuples(st.integers(0, 400), st.binary(max_size=3)), document=values)
@settings(fuzzed, max_examples=fuzzed.max_examples // 3)
def test_a_manifest_is_whole_or_damaged(change: tuple[int, bytes], document: Any, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    if not folder.exists():
        FolderSnapshots(folder).save(MANIFEST, {"learner": State({"x": np.ones(2)})})
    path = folder / "1" / "manifest.json"
    whole = path.read_bytes()
    at, junk = change[0] % len(whole), change[1]

    try:
        for content in (whole[:at] + junk + whole[at + len(junk) :], as_bytes(document, True)):
            path.write_bytes(content)
            for action in (FolderSnapshots(folder).load, FolderSnapshots(folder).verify):
                with suppress(DamagedFile, UnknownVersion):
                    action(1)
            FolderSnapshots(folder).manifests()
    finally:
        path.write_bytes(whole)


def configured(folder: Path, name: str) -> Any:
    path = folder / f"{name}.toml"
    path.write_text(f'[[model]]\nname = "m"\ntopic = "t"\n{sample(name).configuration}')
    return load(path)


@given(key=st.sampled_from(["name", "topic", "inputs", "params", "max_future_seconds", "seed"]), value=values)
@settings(fuzzed, max_examples=fuzzed.max_examples // 3)
def test_a_configuration_is_valid_or_says_its_mistakes(key: str, value: Any, tmp_path: Path) -> None:
    literal = json.dumps(value).replace("null", '""')
    (tmp_path / "c.toml").write_text(f'[[model]]\nname = "m"\nlearner = "ridge"\ntopic = "t"\n{key} = {literal}\n')

    with suppress(ConfigurationError):
        load(tmp_path / "c.toml")


def filled(column: Any, number: float) -> Any:
    """A column of this number, or of the largest one of its type; of other types than floats as it is."""
    if column.dtype.kind != "f":
        return column
    largest = float(np.finfo(column.dtype).max)
    return np.full_like(column, min(max(number, -largest), largest))


EXTREMES = [1e300, -1e300, 1.7e308, 1e154, 5e-324, 1e-310, 3.4e38, -3.4e38, 0.0, 1.0]


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_extreme_numbers_are_learned_or_skipped_and_print_nothing(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Warnings are errors here; what C code prints goes to the terminal."""
    model = configured(tmp_path, name).find("m")
    learner = new_learner(model)
    fold = Fold(learner, InMemorySnapshots(), settings_of(model, 1 << 20), new_monitor(model, learner))
    usual = sample(name).events(16)
    parts = [
        replace(usual, inputs={key: filled(column, number) for key, column in usual.inputs.items()}, weights=weights)
        for number in EXTREMES
        for weights in (usual.weights, np.full(16, abs(number)))
    ]
    capfd.readouterr()

    for part in [*parts, usual]:
        fold.apply(DecodedBlock(fold.version + 1, 16, [Decoded(part)], {}))

    said = capfd.readouterr()
    assert "Warning" not in said.out + said.err
    floats = [array for array in learner.state().tensors.values() if array.dtype.kind == "f"]
    assert not any(np.isnan(array).any() for array in floats)


@pytest.mark.parametrize("number", [1e300, 1e154, 1e99, 1e-310])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_extreme_doubles_and_labels_are_graded_without_a_warning(number: float, task: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        '[[model]]\nname = "m"\ntopic = "t"\nlearner = "ridge"\ninputs.x = { shape = [2], dtype = "float64" }\n'
        f'params = {{ task = "{task}", expansion = 8 }}\n'
    )
    model = load(tmp_path / "c.toml").find("m")
    learner = new_learner(model)
    fold = Fold(learner, InMemorySnapshots(), settings_of(model, 1 << 20), new_monitor(model, learner))

    for inputs, label in ((1.0, 1.0), (number, 1.0), (1.0, number), (number, -number), (1.0, 1.0)):
        x = np.array([[inputs, -inputs]] * 40)
        labels: Any = NumberLabels(np.array([[label], [-label]] * 20))
        if task == "classification":
            labels = ClassLabels(np.array([0, 1] * 20, np.int32), ("a", "b"))
        part = Batch({"x": x}, labels, np.ones(40), np.ones(40))
        fold.apply(DecodedBlock(fold.version + 1, 16, [Decoded(part)], {}))

    answers = learner.predictor().predict({"x": np.ones((1, 2))})
    assert not any(np.isnan(column).any() for column in answers.values())
