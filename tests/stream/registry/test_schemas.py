"""The schemas of a model's records: fetched before decoding, kept for ever, waited for while the registry is away."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.proto.framing.protobuf_schemas import framed_message, message
from tests.proto.framing.test_framing import BARE, INNER, LABELLED, avro, framed, written
from tests.services.processes import required_or_skipped, until
from tests.services.proxy import Proxy
from tests.services.registry import RegistryServer
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.ridge.learner import Ridge
from thalweg.proto.decode import Decoder
from thalweg.proto.event import ClassLabels
from thalweg.proto.framing.framing import RegisteredSchema
from thalweg.proto.records import Partition, Records
from thalweg.proto.schema import Schema, TensorSpec
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.dead_letters import DeadLetters
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import LogError, Message, PermanentLogError
from thalweg.stream.registry.client import RegistryClient
from thalweg.stream.registry.schemas import KnownSchemas

PART = Partition("t", 0)


class InMemoryRegistry:
    """A registry as a table."""

    def __init__(self, schemas: dict[int, RegisteredSchema]) -> None:
        self.schemas, self.asked, self.away = schemas, 0, False

    def fetch(self, id: int) -> RegisteredSchema | None:
        self.asked += 1
        if self.away:
            raise LogError("the schema registry is out of reach")
        return self.schemas.get(id)


def run(*values: bytes, first: int = 0) -> Records:
    count = len(values)
    return Records(PART, range(first, first + count), [1.7e9] * count, [None] * count, values, [()] * count)


def never(look: Callable[[], None]) -> None:
    """What was kept is not compared with the registry's."""


def test_a_schema_is_fetched_once_and_outlives_the_process(tmp_path: Path) -> None:
    registry = InMemoryRegistry({1: avro(BARE)})
    known = KnownSchemas(registry, tmp_path / "m" / "schemas.json")
    known.prepare(run(framed(1, b"a"), framed(1, b"b"), b"{}"))
    known.prepare(run(framed(1, b"c"), first=3))
    registry.away = True

    again = KnownSchemas(registry, tmp_path / "m" / "schemas.json", start=never)
    again.prepare(run(framed(1, b"a")))

    assert registry.asked == 1
    assert again.find(1, PART, 0) == known.find(1, PART, 0) == avro(BARE)


def judged(known: KnownSchemas, records: Records, clock: list[float]) -> list[float]:
    """The waits until the records are judged, as a learner waits: longer each time."""
    waits = []
    while True:
        try:
            known.prepare(records)
        except LogError:
            waits.append(min(5.0, 0.1 * 2 ** len(waits)))
            clock[0] += waits[-1]
        else:
            return waits


def test_an_unknown_id_stays_unknown_to_the_records_that_were_judged_by_it(tmp_path: Path) -> None:
    clock = [0.0]
    registry = InMemoryRegistry({})
    known = KnownSchemas(registry, tmp_path / "schemas.json", lambda: clock[0], start=never)
    judged(known, run(framed(7, b"a"), framed(7, b"b")), clock)
    asked = registry.asked
    registry.schemas[7] = avro(BARE)  # registered too late for them
    known.prepare(run(framed(7, b"c"), first=2))
    clock[0] += 60.0
    known.prepare(run(framed(7, b"d"), first=3))

    for one in (known, KnownSchemas(registry, tmp_path / "schemas.json", start=never)):
        one.prepare(run(framed(7, b"a"), framed(7, b"b"), framed(7, b"c"), framed(7, b"d")))
        assert [one.find(7, PART, offset) for offset in range(4)] == [None, None, None, avro(BARE)]
    assert registry.asked == asked + 1


def test_records_wait_for_a_schema_that_a_registry_knows_a_moment_late(tmp_path: Path) -> None:
    clock = [0.0]
    registry = InMemoryRegistry({1: avro(BARE)})
    known = KnownSchemas(registry, tmp_path / "schemas.json", lambda: clock[0])
    records = run(framed(1, b"a"), framed(7, b"b"), framed(2**31, b"stray"))

    with pytest.raises(LogError, match=r"no schema 7, 2147483648, or not yet: asked again for 5 seconds"):
        known.prepare(records)
    clock[0] = 4.9
    registry.schemas[7] = avro(LABELLED)
    with pytest.raises(LogError, match=r"no schema 2147483648, or not yet"):
        known.prepare(records)
    clock[0] = 5.0
    known.prepare(records)

    found = [known.find(id, PART, offset) for offset, id in enumerate((1, 7, 2**31))]
    assert found == [avro(BARE), avro(LABELLED), None]


def test_a_stream_of_stray_bytes_waits_for_a_twentieth_of_the_time_and_a_new_schema_is_read_again_later(
    tmp_path: Path,
) -> None:
    clock = [0.0]
    registry = InMemoryRegistry({})
    known = KnownSchemas(registry, tmp_path / "schemas.json", lambda: clock[0])

    first, later = 0.0, 0.0
    for block in range(200):
        values = [framed(1_000_000 + 30 * block + n, b"stray") for n in range(30)]
        waited = sum(judged(known, run(*values, first=30 * block), clock))
        first, later = (first + waited, later) if block < 100 else (first, later + waited)
        clock[0] += 1.0
    assert 15.0 < first < 40.0
    assert later < 20.0
    assert registry.asked < 200 * 30 * 2  # not each of them in each round

    clock[0] += 100.0
    late = run(framed(1_000_007, b"in the table"), framed(1_005_999, b"not in it"), framed(8, b"new"), first=6000)
    registry.schemas |= {1_000_007: avro(BARE), 1_005_999: avro(BARE), 8: avro(BARE)}
    known.prepare(late)
    for one in (known, KnownSchemas(registry, tmp_path / "schemas.json")):
        one.prepare(run(framed(1_000_007, b""), first=7))
        one.prepare(run(framed(1_005_999, b""), first=5999))
        places = [(1_000_007, 7), (1_005_999, 5999), (1_000_007, 6000), (1_005_999, 6001), (8, 6002)]
        assert [one.find(id, PART, offset) for id, offset in places] == [None, None, *[avro(BARE)] * 3]


def test_a_protobuf_schema_that_an_older_version_kept_uncompiled_is_fetched_again(tmp_path: Path) -> None:
    old = {"form": "PROTOBUF", "text": 'syntax = "proto3";', "references": []}
    (tmp_path / "schemas.json").write_text(json.dumps({"schemas": {"1": old}, "unknown": {}}))
    registry = InMemoryRegistry({1: RegisteredSchema("PROTOBUF", 'syntax = "proto3"; message M {}')})
    known = KnownSchemas(registry, tmp_path / "schemas.json")

    known.prepare(run(framed(1, b"\0")))

    again = KnownSchemas(InMemoryRegistry({}), tmp_path / "schemas.json")
    for one in (known, again):
        found = one.find(1, PART, 0)
        assert found is not None
        assert (bool(found.compiled), found.fault) == (True, "")


@pytest.mark.parametrize("content", ["", "[]", '{"schemas": {"x": 1}}'])
def test_a_damaged_file_stops_nobody_and_a_reader_leaves_it_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "schemas.json").write_text(content)
    known = KnownSchemas(InMemoryRegistry({1: avro(BARE)}), tmp_path / "schemas.json", read_only=True)

    known.prepare(run(framed(1, b"a")))

    assert known.find(1, PART, 0) == avro(BARE)
    assert (tmp_path / "schemas.json").read_text() == content


def test_while_the_registry_is_away_nothing_is_judged() -> None:
    registry = InMemoryRegistry({})
    registry.away = True
    known = KnownSchemas(registry)

    with pytest.raises(LogError, match="out of reach"):
        known.prepare(run(framed(7, b"a")))
    registry.away, registry.schemas[7] = False, avro(BARE)
    known.prepare(run(framed(7, b"a")))

    assert known.find(7, PART, 0) == avro(BARE)


# -- against a real one ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """A running registry."""
    with required_or_skipped():
        server = RegistryServer(tmp_path_factory.mktemp("registry"))
    server.start()
    yield server
    server.stop()


@pytest.mark.registry
def test_a_real_registry_gives_schemas_with_what_they_name(server: RegistryServer) -> None:
    inner = server.register("inner-value", INNER)
    outer = {"type": "record", "name": "O", "fields": [{"name": "inputs", "type": "In"}]}
    outer_id = server.register(
        "outer-value", outer, references=({"name": "In", "subject": "inner-value", "version": 1},)
    )
    form = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}
    json_id = server.register("json-value", form, "JSON")
    client = RegistryClient(server.url)

    found = client.fetch(outer_id)

    assert found is not None
    assert (found.form, json.loads(found.text)) == ("AVRO", outer)
    assert [json.loads(one) for one in found.references] == [INNER]
    assert client.fetch(inner) == RegisteredSchema("AVRO", json.dumps(INNER))
    assert (json_found := client.fetch(json_id)) is not None
    assert json_found.form == "JSON"
    assert client.fetch(99_999) is None
    with pytest.raises(LogError, match=r"out of reach: .*refused"):
        RegistryClient("http://127.0.0.1:1").fetch(1)
    with pytest.raises(LogError, match=r"no schema registry answers there; check log\.registry\.url"):
        RegistryClient(server.url.removesuffix("/apis/ccompat/v7") + "/health").fetch(outer_id)


@pytest.mark.registry
def test_protobuf_schemas_of_a_real_registry_with_imports_are_compiled_once_and_kept(
    server: RegistryServer, tmp_path: Path
) -> None:
    inner = 'syntax = "proto3"; package in; message Inputs { repeated float x = 1; }'
    server.register("in/inputs.proto", inner, "PROTOBUF")
    imports = ({"name": "in/inputs.proto", "subject": "in/inputs.proto", "version": 1},)
    texts = [
        f"""syntax = "proto3";
        import "in/inputs.proto";
        import "google/protobuf/timestamp.proto";
        message Other {{ int32 n = 1; }}
        message Event {{ in.Inputs inputs = 1; google.protobuf.Timestamp time = 2; optional bool label = 3; {more} }}
        """
        for more in ("", "string added = 4;")
    ]
    ids = [server.register("events-value", text, "PROTOBUF", imports) for text in texts]
    kept = tmp_path / "schemas.json"
    known = KnownSchemas(RegistryClient(server.url), kept)
    known.prepare(run(*(framed(id, b"") for id in ids)))
    forms = [known.find(id, PART, 0) for id in ids]
    assert forms[0] is not None
    assert forms[1] is not None
    values = {"inputs": {"x": [1, 2]}, "time": "2026-01-02T03:04:05Z", "label": False}
    values = [
        framed_message(ids[0], message(forms[0], "Event", values), (1,)),
        framed_message(ids[1], message(forms[1], "Event", {**values, "added": "unknown to the model"}), (1,)),
    ]
    away = KnownSchemas(RegistryClient("http://127.0.0.1:1"), kept)

    away.prepare(run(*values))
    decoder = Decoder(Schema({"x": TensorSpec("x", "float32", (2,))}), max_future_seconds=None, schemas=away)
    found = decoder.decode(run(*values))

    assert found.rejected == []
    assert found.batch.inputs["x"].tolist() == [[1, 2], [1, 2]]
    assert found.batch.times.tolist() == [1767323045.0] * 2
    assert isinstance(found.batch.labels, ClassLabels)
    assert found.batch.labels.names == ("false",)


@pytest.mark.registry
def test_a_stream_goes_on_through_a_new_schema_an_unknown_one_and_a_registry_that_is_away(
    server: RegistryServer, tmp_path: Path
) -> None:
    labelled, bare = server.register("e-value", LABELLED), server.register("bare-value", BARE)
    log = InMemoryLog()
    events = [{"inputs": {"x": [n, 1.0]}, "label": "even" if n % 2 else "odd"} for n in range(4)]
    log.append("t", [Message(framed(labelled, written(LABELLED, event)), time=1.7e9) for event in events])
    log.append("t", [Message(framed(bare, written(BARE, events[0])), time=1.7e9)])
    log.append("t", [Message(framed(99_999, b"x"), time=1.7e9)])
    door = Proxy(server.port)
    door.close()
    health = HealthRegistry()
    processor = Processor(
        Ridge(LearnerContext(inputs={"x": TensorSpec("x", "float32", (2,))})),
        log,
        InMemorySnapshots(),
        ProcessorSettings(model="m", topic="t", batch_events=1),
        ports=Ports(
            health=health.register("learner", "m"),
            dead_letters=DeadLetters(log, "t", "m"),
            schemas=KnownSchemas(
                RegistryClient(server.url.replace(str(server.port), str(door.port))),
                tmp_path / "schemas.json",
                wait_seconds=0.3,
            ),
        ),
    )
    thread = threading.Thread(target=processor.run)
    thread.start()

    def told() -> str | None:
        (part,) = health.report()
        return part.reason if part.state == "waiting" else None

    try:
        reason = until("the learner to say what it waits for", told)
        assert "waits for the schema registry: the schema registry at" in reason
        assert "out of reach" in reason
        assert DeadLetters(log, "t", "m").newest(9) == []
        door.reopen()
        until("the events to be learned", lambda: processor.version >= 1 and processor.events_learned == 4)
    finally:
        processor.stop()
        thread.join()
        door.close()

    (letter,) = DeadLetters(log, "t", "m").newest(9)
    assert (letter.reason, letter.offset) == ("unknown_schema", 5)
    assert "no schema 99999" in letter.detail


def test_a_wrong_password_is_told_as_one_that_waiting_does_not_mend(tmp_path: Path) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            right = self.headers.get("Authorization") == "Basic YWxpY2U6c2VjcmV0"
            body = json.dumps({"schema": json.dumps(BARE)}).encode()
            self.send_response(200 if right else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Not to standard error."""

    door = HTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=door.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{door.server_port}"
    try:
        assert RegistryClient(url, "alice", "secret").fetch(1) == avro(BARE)
        with pytest.raises(PermanentLogError, match=r"answers 401 .*check log\.registry\.user and password"):
            RegistryClient(url, "alice", "wrong").fetch(1)
    finally:
        door.shutdown()
        thread.join()
        door.server_close()
