"""Labels of two names in a service: records come as they are, and are learned by the names that the model declares."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.ops.running import service
from tests.services.processes import PATIENCE as WAIT
from tests.services.processes import until
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.ops.cli.produce import append_events
from thalweg.ops.config.config import parse
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.app import event_schema, new_learner, settings_of
from thalweg.proto import thalweg_pb2 as pb
from thalweg.proto import thalweg_pb2_grpc
from thalweg.proto.decode import Decoder
from thalweg.proto.encode import EVENT_BATCH_HEADERS, EVENT_HEADERS, to_event_batch, to_events
from thalweg.proto.event import Batch
from thalweg.proto.records import Partition, Records
from thalweg.stream.journal.journal import InMemoryJournal
from thalweg.stream.labels.label_records import joined_event
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.log.dead_letters import DeadLetters
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message
from thalweg.stream.sources.mapping import CsvMapping

COLUMNS = {name: {"kind": "hashed", "field": name} for name in ("user", "item")}
LEARNERS: dict[str, dict[str, Any]] = {
    "error_memory": {"learner": "error_memory"},
    "ridge": {"learner": "ridge", "params": {"task": "regression"}},
}
WORDS = [((3 * row) % 5, row % 7, (row * row) % 3 % 2) for row in range(40)]
"""Users, items, and labels."""


def model_of(names: Sequence[str], **more: Any) -> ModelConfig:
    table = {"name": "m", "topic": "t", "columns": COLUMNS, "fields": {"label": "clicked", "id": "id"}, **more}
    named = {"classes": list(names)} if names else {}
    return parse({"model": [{**LEARNERS["error_memory"], **table, **named}]}, "x.toml", {}).model[0]


def rows(labels: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {"user": f"u{user}", "item": f"i{item}", "clicked": labels[label], "id": f"e{place}"}
        for place, (user, item, label) in enumerate(WORDS)
    ]


def plain(model: ModelConfig, labels: Sequence[Any]) -> list[Message]:
    return [Message(json.dumps(row).encode(), time=1.0) for row in rows(labels)]


def cloud_events(model: ModelConfig, labels: Sequence[Any]) -> list[Message]:
    about = {"specversion": "1.0", "type": "t", "source": "s"}
    events = [{**about, "id": row["id"], "data": row} for row in rows(labels)]
    return [Message(json.dumps(event).encode(), time=1.0) for event in events]


def protobuf(model: ModelConfig, labels: Sequence[Any]) -> list[Message]:
    """Events as a client writes them, whose labels are texts or numbers."""
    events = []
    for value, row in zip(to_events(batch_of(model, ())), rows(labels)):
        event = pb.Event.FromString(value)
        if isinstance(row["clicked"], str):
            event.label_text = row["clicked"]
        else:
            event.label_number = row["clicked"]
        events.append(Message(event.SerializeToString(), headers=EVENT_HEADERS, time=1.0))
    return events


def encoded(model: ModelConfig, labels: Sequence[Any]) -> list[Message]:
    """Events as servers write them."""
    return [Message(one, headers=EVENT_HEADERS, time=1.0) for one in to_events(batch_of(model, labels))]


def batches(model: ModelConfig, labels: Sequence[Any]) -> list[Message]:
    return [Message(to_event_batch(batch_of(model, labels)), headers=EVENT_BATCH_HEADERS, time=1.0)]


def late(model: ModelConfig, labels: Sequence[Any]) -> list[Message]:
    schema, waiting = event_schema(model), to_events(batch_of(model, ()))
    joined = [joined_event(schema, row["id"], row["clicked"], one) for one, row in zip(waiting, rows(labels))]
    return [Message(one.value, headers=one.headers, time=1.0) for one in joined]


WIRES: dict[str, Callable[[ModelConfig, Sequence[Any]], list[Message]]] = {
    one.__name__: one for one in (plain, cloud_events, protobuf, encoded, batches, late)
}


def batch_of(model: ModelConfig, labels: Sequence[Any]) -> Batch:
    """The events as the model decodes them; without labels, if none are given."""
    values = [one.value or b"" for one in plain(model, labels or (None, None))]
    count = len(values)
    run = Records(Partition("t", 0), range(count), [1.0] * count, [None] * count, values, [()] * count)
    decoded = Decoder(event_schema(model)).decode(run)
    assert not decoded.rejected
    return decoded.batch


def learned(model: ModelConfig, messages: Sequence[Message]) -> tuple[str, int, list[str]]:
    """The hash of the state after these records, how many events it learned, and the dead letters."""
    log, snapshots = InMemoryLog(), InMemorySnapshots()
    log.append("t", messages)
    settings = settings_of(model, 1 << 20).model_copy(update={"batch_events": 8, "idle_seconds": 0.0})
    ports = Ports(dead_letters=DeadLetters(log, "t", "m"))
    Processor(new_learner(model), log, snapshots, settings, journal=InMemoryJournal(), ports=ports).run(until_end=True)
    newest = snapshots.manifests()[-1]
    letters = log.reader(["t.dlq"], {}).poll(0.0)
    return newest.state_sha256, newest.events_learned, [repr(one) for run in letters for one in run.headers]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("learner", LEARNERS)
def test_records_as_they_are_are_learned_by_two_names_as_by_0_and_1(learner: str, wire: str) -> None:
    numbers = model_of((), **LEARNERS[learner])
    wanted = learned(numbers, WIRES[wire](numbers, (0, 1)))
    assert wanted[1:] == (len(WORDS), [])

    named = model_of(("no", "yes"), **LEARNERS[learner])

    assert learned(named, WIRES[wire](named, ("no", "yes"))) == wanted
    assert learned(named, WIRES[wire](named, (0, 1))) == wanted


@pytest.mark.parametrize("names", [("1", "2"), ("-1", "1"), ("1", "0"), ("true", "false"), ("NA", "seen")])
@pytest.mark.parametrize("wire", WIRES)
def test_a_label_is_mapped_once_whatever_it_was_written_as_on_its_way(wire: str, names: tuple[str, str]) -> None:
    numbers, named = model_of(()), model_of(names)

    assert learned(named, WIRES[wire](named, names)) == learned(numbers, WIRES[wire](numbers, (0, 1)))


@pytest.mark.parametrize("wire", [plain, cloud_events, protobuf])
def test_a_label_that_is_neither_is_a_dead_letter_that_names_both(
    wire: Callable[[ModelConfig, Sequence[Any]], list[Message]],
) -> None:
    model = model_of(("no", "yes"))
    good, bad = wire(model, ("no", "yes")), wire(model, ("maybe", "maybe"))

    _, events, letters = learned(model, [*good, bad[0]])

    assert (events, len(letters)) == (len(WORDS), 1)
    assert "label: expected 'no' or 'yes', got 'maybe'" in letters[0]


def test_declared_classes_say_what_is_a_class_of_records_as_they_are_too() -> None:
    model = model_of(("NA", "seen"), learner="ridge")
    good = plain(model, ("NA", "seen"))

    _, events, letters = learned(model, [*good, plain(model, ("sen", "sen"))[0]])

    assert (events, len(letters)) == (len(WORDS), 1)
    assert "expected one of the classes NA, seen, got 'sen'; did you mean 'seen'?" in letters[0]


def test_what_is_produced_for_a_model_of_tensors_is_learned_as_the_file_has_it(tmp_path: Path) -> None:
    table = {"learner": "ridge", "params": {"task": "regression"}, "columns": {}, "fields": None}
    inputs = {"x": {"shape": [1]}}
    file = tmp_path / "file.csv"
    states = []
    for names in ((), ("-1", "1")):
        model = model_of(names, inputs=inputs, **table)
        file.write_text("x,label\n" + "".join(f"{a},{(names or ('0', '1'))[c]}\n" for a, _, c in WORDS))
        log = InMemoryLog()
        list(append_events(log, "t", file, event_schema(model), CsvMapping(label="label"), None, 1, None))
        (run,) = log.reader(["t"], {}).poll(0.0)
        sent = [Message(value, headers=headers, time=1.0) for value, headers in zip(run.values, run.headers)]
        states.append(learned(model, sent))

    assert states[0][1:] == states[1][1:] == (len(WORDS), [])
    assert states[0][0] == states[1][0]


MODEL = """
[[model]]
name = "m"
topic = "m.events"
learner = "error_memory"
classes = ["no", "yes"]
history = "{history}"
[model.fields]
label = "clicked"
id = "id"
[model.columns]
user = {{ kind = "hashed", field = "user" }}
item = {{ kind = "hashed", field = "item" }}
"""


def test_a_service_learns_them_from_its_log_its_servers_and_a_file_of_history(tmp_path: Path) -> None:
    history = tmp_path / "old.jsonl"
    history.write_text("".join(json.dumps({**row, "id": f"old-{row['id']}"}) + "\n" for row in rows(("no", "yes"))))
    with service(tmp_path) as made:
        made.path.write_text(made.path.read_text().partition("[[model]]")[0] + MODEL.format(history=history))
        made.log.append("m.events", [Message(json.dumps(row).encode()) for row in rows(("no", "yes"))])
        made.log.append("m.events", [Message(json.dumps({**rows(("maybe", "maybe"))[0], "id": "bad"}).encode())])
        made.start()
        until("it is ready", made.ready)
        posted = [{**row, "id": f"http-{row['id']}"} for row in rows(("no", "yes"))]
        request = urllib.request.Request(
            f"http://127.0.0.1:{made.ports['http']}/v1/models/m/events",
            json.dumps(posted).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=WAIT) as answer:
            assert len(json.load(answer)) == len(WORDS)
        events = []
        for message in protobuf(model_of(("no", "yes")), ("no", "yes")):
            event = pb.Event.FromString(message.value or b"")
            event.model, event.id = "m", f"grpc-{event.id}"
            events.append(event)
        with grpc.insecure_channel(f"127.0.0.1:{made.ports['grpc']}") as channel:
            stub = thalweg_pb2_grpc.LearningServiceStub(channel)  # type: ignore[no-untyped-call]
            acks = list(stub.Learn(iter(events), timeout=WAIT))
        assert [ack.error for ack in acks] == [""] * len(WORDS)

        until("all are learned", lambda: made.metric("thalweg_events_learned_total") == 3 * len(WORDS))
        assert f"learned recorded events before those of the log events={len(WORDS)} invalid={{}}" in made.text()
        assert made.metric("thalweg_events_dead_lettered_total", reason="bad_label") == 1
