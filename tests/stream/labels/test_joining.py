"""Labels that come later: each joined once, whatever comes first, twice, or never; and nothing is lost."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.proto.framing.protobuf_schemas import framed_message, message, protobuf
from tests.proto.framing.test_framing import INNER, avro, framed, written
from tests.services.processes import until
from tests.stream.registry.test_schemas import InMemoryRegistry
from thalweg.memory.exchange.commands import StoreError
from thalweg.memory.exchange.pending import InMemoryPending, Limits
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.ridge.learner import Ridge
from thalweg.proto.decode import Decoder
from thalweg.proto.encode import to_json
from thalweg.proto.event import Batch, ClassLabels
from thalweg.proto.framing.framing import RegisteredSchema
from thalweg.proto.records import Partition
from thalweg.proto.rows.column import Column
from thalweg.proto.rows.fields import FieldMapping
from thalweg.proto.schema import Schema, TensorSpec, column_specs
from thalweg.stream.labels import joining, waiting
from thalweg.stream.labels.joining import Joiner, JoinSettings, entries_of
from thalweg.stream.log.dead_letters import DeadLetters
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Gap, LogError, Message
from thalweg.stream.log.sqlite import SqliteLog
from thalweg.stream.registry.schemas import KnownSchemas
from thalweg.stream.runtime import Runtime

SPECS = {"x": TensorSpec("x", "float32", (2,))}
SCHEMA = Schema(SPECS, "class")


class Counted:
    """What the joiner told."""

    def __init__(self) -> None:
        self.joined: list[float] = []
        self.unmatched = self.duplicated = self.deleted = 0
        self.reasons: Counter[str] = Counter()
        self.reached: list[bool] = []

    def labels_joined(self, delays: Sequence[float]) -> None:
        self.joined += delays

    def labels_unmatched(self, labels: int) -> None:
        self.unmatched += labels

    def labels_duplicated(self, labels: int) -> None:
        self.duplicated += labels

    def dead_lettered(self, reasons: Mapping[str, int]) -> None:
        self.reasons.update(reasons)

    def tombstones(self, records: int) -> None:
        self.deleted += records

    def store_reached(self, reached: bool) -> None:
        if self.reached[-1:] != [reached]:
            self.reached.append(reached)


class House:
    """A log, a store, and a joiner that can be built again over them."""

    def __init__(self, folder: Path, label_seconds: float = 100.0, schema: Schema = SCHEMA) -> None:
        self.schema = schema
        self.now = 1000.0
        self.log = InMemoryLog(lambda: self.now)
        self.pending: Any = InMemoryPending(Limits(), lambda: self.now)
        self.place = folder / "joined.json"
        self.label_seconds = label_seconds
        self.told = Counted()
        self.schemas: KnownSchemas | None = None

    def joiner(self) -> Joiner:
        settings = JoinSettings(
            model="m",
            topic="events",
            labels_topic="labels",
            joined_topic="m.joined",
            label_seconds=self.label_seconds,
        )
        dead_letters = DeadLetters(self.log, "labels", "m")
        return Joiner(
            settings,
            self.log,
            self.pending,
            self.schema,
            self.place,
            dead_letters,
            self.told,
            runtime=Runtime(clock=lambda: self.now),
            schemas=self.schemas,
        )

    def run(self) -> None:
        self.joiner().run(until_end=True)

    def ask(self, *ids: str) -> None:
        """As a server does."""
        self.pending.remember("m", entries_of(batch(*ids, time=self.now), range(len(ids))))

    def tell(self, *labels: tuple[Any, Any]) -> None:
        records = [json.dumps({"id": id, "label": label}).encode() for id, label in labels]
        self.log.append("labels", [Message(record) for record in records])

    def joined(self) -> list[tuple[str | None, str, float]]:
        """Id, label and first input of the joined events."""
        reader = self.log.reader(["m.joined"], {})
        found = []
        for run in reader.poll(0.0, 10_000):
            events = Decoder(SCHEMA).decode(run).batch
            assert isinstance(events.labels, ClassLabels)
            assert events.ids is not None
            for row, code in enumerate(events.labels.codes):
                found.append((events.ids[row], events.labels.names[code], float(events.inputs["x"][row, 0])))
        return found

    def letters(self) -> list[tuple[str, bytes | None]]:
        return [(letter.reason, letter.value) for letter in DeadLetters(self.log, "labels", "m").newest(100)]


def batch(*ids: str, time: float = 0.0, labels: ClassLabels | None = None) -> Batch:
    """Events whose first input is the number in their id."""
    x = np.array([[float(id[1:]), 1.0] for id in ids], dtype=np.float32)
    return Batch({"x": x}, labels, np.ones(len(ids)), np.full(len(ids), time), list(ids))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_label_is_joined_with_the_request_of_its_id(house: House) -> None:
    house.ask("e1", "e2", "e3")
    house.now += 7
    house.tell(("e3", "b"), ("e1", 5))

    house.run()

    assert house.joined() == [("e3", "b", 3.0), ("e1", "5", 1.0)]
    assert house.told.joined == [7.0, 7.0]
    assert not house.letters()


def test_events_of_the_topic_without_a_label_wait_for_one_too(house: House) -> None:
    labelled = ClassLabels(np.array([0, -1], np.int32), ("a",))
    house.log.append("events", [Message(value) for value in to_json(batch("e1", "e2", time=990.0, labels=labelled))])
    house.tell(("e2", "b"))

    house.run()

    assert house.joined() == [("e2", "b", 2.0)]
    assert house.told.joined == [10.0]


def test_a_label_that_comes_first_waits_for_its_event(house: House) -> None:
    house.tell(("e1", "a"))
    house.run()
    assert house.joined() == []

    house.ask("e1")
    house.run()

    assert house.joined() == [("e1", "a", 1.0)]


def test_the_same_label_twice_counts_once(house: House) -> None:
    house.ask("e1")
    house.tell(("e1", "a"), ("e1", "a"))
    house.run()
    house.tell(("e1", "b"))
    house.run()

    assert house.joined() == [("e1", "a", 1.0)]
    assert house.told.duplicated == 2


def test_a_label_that_was_deleted_is_counted_and_no_dead_letter(house: House) -> None:
    house.ask("e1")
    house.log.append("labels", [Message(None, b"e0"), Message(b"null", b"e0"), Message(b"")])
    house.tell(("e1", "a"))

    house.run()

    assert (house.joined(), house.told.deleted) == ([("e1", "a", 1.0)], 2)
    assert [value for _, value in house.letters()] == [b""]


def test_labels_that_are_read_again_after_a_kill_were_not_sent_again(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.ask("e1", "e2", "e3")
    house.tell(("e1", "up"), ("e2", "up"))
    house.run()
    house.place.unlink()  # killed before the position was saved
    house.place.with_name(f"{house.place.name}.previous").unlink(missing_ok=True)
    house.tell(("e3", "up"), ("e2", "down"))

    house.run()

    assert [id for id, _, _ in house.joined()] == ["e1", "e2", "e3"]
    assert house.told.duplicated == 1  # of e2


def test_a_label_for_an_unknown_id_goes_to_the_dead_letters_once_its_time_is_over(house: House) -> None:
    house.tell(("e1", "a"), ("e2", "b"))
    house.run()
    assert house.letters() == []

    house.now += 101
    for _ in range(3):  # again and again, as after restarts
        house.run()

    assert house.letters() == [
        ("unmatched_label", b'{"id": "e1", "label": "a"}'),
        ("unmatched_label", b'{"id": "e2", "label": "b"}'),
    ]
    assert house.told.unmatched == 2


def test_labels_that_cannot_be_used_go_to_the_dead_letters_at_once(house: House) -> None:
    house.ask("e1")
    for value in (b"{", b'{"id": "e1"}', b'{"label": 3}', b'{"id": "e1", "label": null}', b'{"id": "e1", "label": {}}'):
        house.log.append("labels", [Message(value)])
    house.log.append("labels", [Message(b"")])
    house.tell(("e1", "a"))

    for _ in range(2):
        house.run()

    assert house.joined() == [("e1", "a", 1.0)]
    assert [reason for reason, _ in house.letters()] == [
        "malformed",
        "malformed",
        "malformed",
        "bad_label",
        "bad_label",
        "malformed",
    ]


def test_more_labels_than_may_wait_push_the_oldest_out(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MOST_WAITING", 3)
    house.tell(*((f"e{number}", "a") for number in range(5)))

    house.run()

    assert [json.loads(value or b"")["id"] for _, value in house.letters()] == ["e0", "e1"]


class Dying(InMemoryLog):
    """Dies at the n-th append."""

    left = 10**9

    def append(self, topic: str, messages: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            raise SystemExit("killed")
        done = super().append(topic, messages)
        if self.left == -1:
            raise SystemExit("killed just after")
        return done


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("after", [False, True])
def test_killed_anywhere_each_label_is_learned_exactly_once(tmp_path: Path, step: int, after: bool) -> None:
    house = House(tmp_path)
    ids = [f"e{number}" for number in range(30)]
    house.ask(*ids)
    for part in range(3):
        house.tell(*((id, "a" if int(id[1:]) % 2 else "b") for id in ids[part::3]))
    dying = Dying(lambda: house.now)
    dying.__dict__.update(house.log.__dict__)
    house.log = dying
    old, joining.JOIN_AT_ONCE = joining.JOIN_AT_ONCE, 10
    try:
        dying.left = 0 - step if after else step
        if after:
            dying.left = 10**9  # appended, but not settled: the store dies instead

            class Settling(InMemoryPending):
                calls = 0

                def settle(self, model: str, ids: Sequence[str]) -> None:
                    self.calls += 1
                    if self.calls == step:
                        raise SystemExit("killed before it was noted")
                    super().settle(model, ids)

            other = Settling(Limits(), lambda: house.now)
            other.__dict__.update(house.pending.__dict__)
            house.pending = other
        with pytest.raises(SystemExit):
            house.run()
        dying.left = 10**9
        house.run()
    finally:
        joining.JOIN_AT_ONCE = old

    counts = Counter(id for id, _, _ in house.joined())
    assert set(counts) == set(ids)  # none is lost; what came twice has one id, by which the model drops it
    assert (max(counts.values()) == 2) == after
    assert not house.letters()


class Flaky(InMemoryPending):
    """Out of reach for the first so many calls."""

    failures = 4

    def find(self, model: str, ids: Sequence[str]) -> Any:
        if self.failures > 0:
            self.failures -= 1
            raise StoreError("store x: out of reach")
        return super().find(model, ids)


def test_while_the_store_is_out_of_reach_labels_wait_and_it_is_said(house: House) -> None:
    flaky = Flaky(Limits(), lambda: house.now)
    house.pending = flaky
    house.ask("e1")
    house.tell(("e1", "a"))

    house.run()

    assert house.joined() == [("e1", "a", 1.0)]
    assert house.told.reached == [True, False, True]


def test_a_log_that_refuses_is_tried_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.ask("e1")
    house.tell(("e1", "a"))
    real, refused = house.log.append, []

    def append(topic: str, messages: Any) -> Any:
        if len(refused) < 2:
            refused.append(topic)
            raise LogError("no")
        return real(topic, messages)

    monkeypatch.setattr(house.log, "append", append)
    house.run()

    assert refused == ["m.joined", "m.joined"]
    assert house.joined() == [("e1", "a", 1.0)]


def test_it_goes_on_where_it_was_and_a_damaged_note_of_that_only_costs_looking_again(house: House) -> None:
    house.ask("e1", "e2")
    house.tell(("e1", "a"))
    house.run()
    assert json.loads(house.place.read_text())["offsets"] == [["labels", 0, 0]]
    house.place.write_text("garbage")
    house.tell(("e2", "a"))

    house.run()

    assert house.joined() == [("e1", "a", 1.0), ("e2", "a", 2.0)]
    assert house.told.duplicated == 0  # nobody sent a label twice


def test_the_oldest_label_that_waits_is_where_the_next_run_begins(house: House) -> None:
    house.ask("e2")
    house.tell(("e1", "a"), ("e2", "b"))
    house.run()

    assert json.loads(house.place.read_text())["offsets"] == [["labels", 0, -1]]
    assert Partition("labels", 0)  # the label at offset 0 still waits


def test_number_labels_are_joined_as_numbers(tmp_path: Path) -> None:
    from thalweg.stream.labels.joining import Joiner

    house = House(tmp_path)
    schema = Ridge(LearnerContext(inputs=SPECS, params={"task": "regression"}, seed=0)).schema
    settings = JoinSettings(model="m", topic="events", labels_topic="labels", joined_topic="m.joined")
    house.ask("e1")
    house.tell(("e1", 2.5), ("e1", "no number"))
    letters = DeadLetters(house.log, "labels", "m")

    Joiner(settings, house.log, house.pending, schema, house.place, letters, house.told).run(until_end=True)

    (run,) = house.log.reader(["m.joined"], {}).poll(0.0)
    labels: Any = Decoder(schema).decode(run).batch.labels
    assert labels.values.tolist() == [[2.5]]
    assert [reason for reason, _ in house.letters()] == ["bad_label"]


def test_events_that_hold_a_single_text_wait_for_their_label_and_are_joined(house: House) -> None:
    schema = Schema({"key": TensorSpec("key", "bytes", ())}, "class")
    settings = JoinSettings(model="m", topic="events", labels_topic="labels", joined_topic="m.joined")
    house.log.append("events", [Message(b'{"id": "e1", "inputs": {"key": "k1"}}')])
    house.tell(("e1", "a"))
    letters = DeadLetters(house.log, "labels", "m")

    Joiner(settings, house.log, house.pending, schema, house.place, letters, house.told).run(until_end=True)

    (run,) = house.log.reader(["m.joined"], {}).poll(0.0)
    assert Decoder(schema).decode(run).batch.inputs["key"].tolist() == [b"k1"]
    assert house.letters() == []


def test_a_log_that_is_away_at_the_start_is_waited_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.ask("e1")
    house.tell(("e1", "b"))
    reader, refusals = house.log.reader, []

    def refusing(*arguments: Any) -> Any:
        if len(refusals) < 2:
            refusals.append("away")
            raise LogError("out of reach")
        return reader(*arguments)

    monkeypatch.setattr(house.log, "reader", refusing)
    house.run()

    assert house.joined() == [("e1", "b", 1.0)]


def test_an_event_that_can_never_be_appended_holds_up_no_other_label(house: House) -> None:
    house.log = InMemoryLog(lambda: house.now, max_record_bytes=400)
    house.pending.remember("m", entries_of(batch("s1", "s2", time=house.now), range(2)))
    large = Batch({"x": np.zeros((1, 200), np.float32)}, None, np.ones(1), np.array([house.now]), ["large"])
    house.pending.remember("m", entries_of(large, [0]))
    house.tell(("s1", "a"), ("large", "a"), ("s2", "b"))

    house.run()

    assert [(id, label) for id, label, _ in house.joined()] == [("s1", "a"), ("s2", "b")]
    assert house.told.reasons == {"too_large": 1}
    (letter,) = DeadLetters(house.log, "labels", "m").newest(9)
    assert "expected records of at most 400 bytes" in letter.detail
    house.run()  # and it is not tried again
    assert house.told.reasons == {"too_large": 1}


class Watching(Counted):
    """Follows what the joiner reads, too."""

    def __init__(self) -> None:
        super().__init__()
        self.lags: list[Mapping[Partition, int]] = []
        self.gaps: list[Gap] = []

    def labels_lag(self, lag: Mapping[Partition, int]) -> None:
        self.lags.append(lag)

    def lost(self, gap: Gap) -> None:
        self.gaps.append(gap)


def test_the_lag_of_its_topics_and_what_it_could_not_read_are_told(house: House) -> None:
    house.told = Watching()
    house.ask("e1", "e2")
    house.tell(("e1", "a"), ("e2", "b"))
    house.log.delete_before("labels", 1)
    house.place.write_text('[["labels", 0, -1]]')

    house.run()

    assert house.told.lags[-1] == {Partition("labels", 0): 0}
    assert house.told.gaps == [Gap(Partition("labels", 0), 0, 0)]
    assert [id for id, _, _ in house.joined()] == ["e2"]


def test_labels_of_a_topic_that_was_created_again_are_read_from_its_beginning(house: House) -> None:
    house.tell(*((f"o{number}", "a") for number in range(5)))
    house.ask(*(f"o{number}" for number in range(5)))
    house.run()
    house.log = InMemoryLog(lambda: house.now)  # another log, of another identity
    house.ask(*(f"n{number}" for number in range(9)))
    house.tell(*((f"n{number}", "b") for number in range(9)))

    house.run()

    assert [id for id, _, _ in house.joined()] == [f"n{number}" for number in range(9)]


@pytest.mark.parametrize("since", [0, 2, 8])
def test_after_an_older_copy_of_the_log_is_put_back_new_labels_are_joined_and_no_other_again(
    tmp_path: Path, since: int
) -> None:
    house = House(tmp_path)
    house.log = SqliteLog(tmp_path / "log.db", clock=lambda: house.now)  # type: ignore[assignment]
    house.ask(*(f"e{number}" for number in range(30)))
    house.tell(*((f"e{number}", "a") for number in range(3)))
    house.run()
    with (
        closing(sqlite3.connect(tmp_path / "log.db")) as source,
        closing(sqlite3.connect(tmp_path / "backup.db")) as target,
    ):
        source.backup(target)
    house.tell(*((f"e{number}", "a") for number in range(3, 8)))
    house.run()
    house.log.close()
    for beside in ("", "-wal", "-shm"):
        (tmp_path / f"log.db{beside}").unlink(missing_ok=True)
    (tmp_path / "backup.db").rename(tmp_path / "log.db")
    house.log = SqliteLog(tmp_path / "log.db", clock=lambda: house.now)  # type: ignore[assignment]
    new = [f"e{number}" for number in range(10, 10 + since)]
    house.tell(*((id, "b") for id in new))

    house.run()
    house.tell(("e29", "c"))
    house.run()

    assert [id for id, _, _ in house.joined()] == ["e0", "e1", "e2", *new, "e29"]
    house.log.close()


def test_a_label_nested_too_deeply_is_kept_and_the_next_one_is_joined(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.ask("e1")
    deep = b'{"id":"e1","label":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    house.log.append("labels", [Message(deep), Message(b"[" * 100_000)])
    house.tell(("e1", "a"))

    house.run()

    assert house.joined() == [("e1", "a", 1.0)]
    assert [reason for reason, _ in house.letters()] == ["malformed", "malformed"]


@pytest.mark.parametrize("fails", ["remember", "find"])
def test_what_makes_the_joiner_raise_is_kept_and_the_rest_is_joined(tmp_path: Path, fails: str) -> None:
    house = House(tmp_path)

    class Fragile(InMemoryPending):
        def remember(self, model: str, entries: Sequence[tuple[str, float, bytes]]) -> None:
            if fails == "remember" and any(id == "e3" for id, _, _ in entries):
                raise ValueError("not this one\nat all")
            super().remember(model, entries)

        def find(self, model: str, ids: Sequence[str]) -> Any:
            if fails == "find" and "e3" in ids:
                raise MemoryError
            return super().find(model, ids)

    house.pending = Fragile(Limits(), lambda: house.now)
    house.log.append("events", [Message(value) for value in to_json(batch("e1", "e2", "e3", "e4"))])
    house.tell(("e1", "a"), ("e2", "b"), ("e3", "c"), ("e4", "d"))

    house.run()

    assert [name for name, _, _ in house.joined()] == ["e1", "e2", "e4"]
    assert [reason for reason, _ in house.letters()] == ["joiner_error"]
    assert house.told.reasons == {"joiner_error": 1}


def test_a_stored_event_that_is_damaged_costs_its_label_alone(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.ask("e1", "e3")
    house.pending.remember("m", [("e2", house.now, b"\xff\xff")])
    house.tell(("e1", "a"), ("e2", "b"), ("e3", "c"))

    house.run()

    assert [name for name, _, _ in house.joined()] == ["e1", "e3"]
    assert [reason for reason, _ in house.letters()] == ["joiner_error"]


def test_events_of_a_scalar_bytes_input_wait_for_their_labels(tmp_path: Path) -> None:
    log, pending = InMemoryLog(), InMemoryPending(Limits())
    schema = Schema({"kind": TensorSpec("kind", "bytes", ())}, "class")
    log.append("events", [Message(b'{"id": "1", "inputs": {"kind": "click"}}')])
    log.append("labels", [Message(b'{"id": "1", "label": "a"}')])
    settings = JoinSettings(model="m", topic="events", labels_topic="labels", joined_topic="m.joined")
    letters, told = DeadLetters(log, "labels", "m"), Counted()

    Joiner(settings, log, pending, schema, tmp_path / "joined.json", letters, told).run(until_end=True)

    (run,) = log.reader(["m.joined"], {}).poll(0.0)
    joined = Decoder(schema).decode(run).batch
    assert joined.inputs["kind"].tolist() == [b"click"]
    assert letters.newest(9) == []


def test_rows_with_missing_columns_wait_for_labels_with_the_names_of_the_rows(tmp_path: Path) -> None:
    columns = {
        column.name: column
        for column in (
            Column(name="amount", kind="numeric", field="order.total"),
            Column(name="country", kind="categorical"),
            Column(name="at", kind="datetime", unit="ms"),
            Column(name="tags", kind="list"),
        )
    }
    schema = Schema(
        column_specs(columns),
        columns=columns,
        fields=FieldMapping(label="fraud", id="payment.id", time="at", time_unit="ms"),
    )
    house = House(tmp_path, schema=schema)
    rows = [
        {"payment": {"id": "a"}, "order": {"total": 3}, "at": 900_000, "tags": ["x"]},
        {"payment": {"id": "b"}, "country": "DE"},
    ]
    labels = [{"payment": {"id": "a"}, "fraud": True}, {"id": "b", "label": "no"}, {"payment": {"id": "c"}}]
    house.log.append("events", [Message(json.dumps(row).encode()) for row in rows])
    house.log.append("labels", [Message(json.dumps(label).encode()) for label in labels])

    house.run()

    assert house.told.reasons == {"bad_label": 1}
    runs = house.log.reader(["m.joined"], {}).poll(0.0, 10)
    (events,) = [Decoder(schema).decode(run).batch for run in runs]
    assert isinstance(events.labels, ClassLabels)
    by_id = {id: row for row, id in enumerate(events.ids or ())}
    a, b = by_id["a"], by_id["b"]
    assert [events.labels.names[events.labels.codes[row]] for row in (a, b)] == ["true", "no"]
    np.testing.assert_array_equal(events.inputs["amount"][[a, b]], [3, np.nan])
    np.testing.assert_array_equal(events.inputs["at"][[a, b]], [900, np.nan])
    assert events.inputs["country"][[a, b]].tolist() == [b"", b"DE"]
    assert events.inputs["tags"][[a, b]].tolist() == [b'["x"]', b""]
    assert events.times[[a, b]].tolist() == [900, 1000]


@pytest.mark.parametrize("form", ["AVRO", "JSON", "PROTOBUF"])
def test_events_and_labels_may_be_framed_for_a_schema_registry(house: House, form: str) -> None:
    event = {"id": "e1", "inputs": {"x": [1.0, 1.0]}}
    label = {"id": "e1", "label": "a"}
    kind = {"type": "record", "name": "L", "fields": [{"name": n, "type": "string"} for n in ("id", "label")]}
    events = {
        "type": "record",
        "name": "E",
        "fields": [{"name": "id", "type": "string"}, {"name": "inputs", "type": INNER}],
    }
    text = """syntax = "proto3"; message L { string id = 1; string label = 2; }
        message E { string id = 1; In inputs = 2; } message In { repeated float x = 1; }"""
    if form == "AVRO":
        schemas = {1: avro(events), 2: avro(kind)}
        records = framed(1, written(events, event)), framed(2, written(kind, label))
    elif form == "JSON":
        schemas = {1: RegisteredSchema("JSON", "{}"), 2: RegisteredSchema("JSON", "{}")}
        records = framed(1, json.dumps(event).encode()), framed(2, json.dumps(label).encode())
    else:
        schemas = dict.fromkeys((1, 2), protobuf(text))
        records = (
            framed_message(1, message(schemas[1], "E", event), (1,)),
            framed_message(2, message(schemas[2], "L", label)),
        )
    registry = InMemoryRegistry(schemas)
    registry.away = True
    house.schemas = KnownSchemas(registry, wait_seconds=0.0)
    house.log.append("events", [Message(records[0], time=1000.0)])
    house.log.append("labels", [Message(framed(9, b"stray")), Message(records[1])])

    joiner = house.joiner()
    thread = threading.Thread(target=lambda: joiner.run(until_end=True))
    thread.start()
    until("the joiner to ask for a schema", lambda: registry.asked)
    assert house.letters() == []
    registry.away = False
    thread.join()

    assert house.joined() == [("e1", "a", 1.0)]
    assert house.letters() == [("unknown_schema", framed(9, b"stray"))]


def test_a_label_may_be_the_data_of_a_cloud_event(house: House) -> None:
    house.ask("e1")
    event = {"specversion": "1.0", "source": "/s", "id": "of the envelope", "type": "t"}
    house.log.append("labels", [Message(json.dumps({**event, "data": {"id": "e1", "label": "a"}}).encode())])
    house.log.append("labels", [Message(json.dumps({**event, "id": "x" * 3000, "data": {"id": "e1"}}).encode())])

    house.run()

    assert house.joined() == [("e1", "a", 1.0)]
    assert [reason for reason, _ in house.letters()] == ["malformed"]
