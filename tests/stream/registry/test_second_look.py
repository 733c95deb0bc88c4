"""Ids that name other schemas than they did, because the registry was set up anew."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.proto.framing.test_framing import BARE, LABELLED, avro, framed, written
from tests.services.processes import required_or_skipped, until
from tests.services.registry import RegistryServer
from tests.stream.registry.test_schemas import PART, InMemoryRegistry, run
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.models.contract.learner import LearnerContext
from thalweg.models.ridge.learner import Ridge
from thalweg.proto.framing.framing import RegisteredSchema
from thalweg.proto.schema import TensorSpec
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message, PermanentLogError
from thalweg.stream.registry.client import RegistryClient
from thalweg.stream.registry.schemas import KnownSchemas


def at_once(look: Callable[[], None]) -> None:
    look()


def test_a_registry_that_was_set_up_anew_stops_the_learner_until_its_ids_are_back(tmp_path: Path) -> None:
    other = avro(LABELLED)
    registry, clock = InMemoryRegistry({1: avro(BARE), 2: other}), [0.0]
    known = KnownSchemas(registry, tmp_path / "schemas.json", lambda: clock[0], start=at_once)
    known.prepare(run(framed(1, b"a")))
    registry.schemas = {1: other}

    clock[0] += 61.0
    with pytest.raises(PermanentLogError, match=r"another schema under id 1 .* remove .*schemas\.json"):
        known.prepare(run(framed(1, b"b"), first=1))
    with pytest.raises(PermanentLogError):  # and so it is after a restart
        KnownSchemas(registry, tmp_path / "schemas.json", start=at_once).prepare(run(framed(1, b"b"), first=1))
    registry.away = True
    clock[0] += 61.0
    with pytest.raises(PermanentLogError):
        known.prepare(run(framed(1, b"b"), first=1))
    registry.away, registry.schemas = False, {1: avro(BARE)}
    clock[0] += 6.0
    known.prepare(run(framed(1, b"b"), first=1))

    assert known.find(1, PART, 1) == avro(BARE)


def test_an_id_that_is_new_is_a_reason_to_look_whether_the_others_are_the_same(tmp_path: Path) -> None:
    registry = InMemoryRegistry({1: avro(BARE)})
    known = KnownSchemas(registry, tmp_path / "schemas.json", lambda: 0.0, start=at_once)
    known.prepare(run(framed(1, b"a")))
    registry.schemas = {1: avro(LABELLED), 2: avro(BARE)}

    with pytest.raises(PermanentLogError, match="under id 1 "):
        known.prepare(run(framed(2, b"b"), first=1))


def test_schemas_that_are_written_otherwise_are_the_same_and_those_that_are_gone_change_nothing(
    tmp_path: Path,
) -> None:
    registry, clock = InMemoryRegistry({1: avro(BARE), 2: avro(LABELLED)}), [0.0]
    known = KnownSchemas(registry, tmp_path / "schemas.json", lambda: clock[0], start=at_once)
    known.prepare(run(framed(1, b"a"), framed(2, b"a")))
    written = json.dumps(json.loads(registry.schemas[1].text), indent=4, sort_keys=True)
    registry.schemas = {1: RegisteredSchema("AVRO", written, ())}

    clock[0] += 61.0
    asked = registry.asked
    known.prepare(run(framed(1, b"b"), framed(2, b"b"), first=2))

    assert registry.asked == asked + 2
    assert known.find(2, PART, 3) == avro(LABELLED)


@pytest.mark.registry
def test_a_learner_tells_of_a_real_registry_that_gives_an_id_to_another_schema_and_learns_nothing_by_it(
    tmp_path: Path,
) -> None:
    swapped = json.loads(json.dumps(LABELLED).replace('"label"', '"was"'))
    with required_or_skipped():
        server = RegistryServer(tmp_path)
    server.start()
    log, health = InMemoryLog(), HealthRegistry()
    try:
        id = server.register("e-value", LABELLED)
        event = {"inputs": {"x": [1.0, 1.0]}, "label": "odd"}
        log.append("t", [Message(framed(id, written(LABELLED, event)), time=1.7e9)])

        def processor() -> Processor:
            return Processor(
                Ridge(LearnerContext(inputs={"x": TensorSpec("x", "float32", (2,))})),
                log,
                snapshots,
                ProcessorSettings(model="m", topic="t", batch_events=1),
                ports=Ports(
                    health=health.register("learner", "m"),
                    schemas=KnownSchemas(RegistryClient(server.url), tmp_path / "schemas.json"),
                ),
            )

        snapshots = InMemorySnapshots()
        _until_learned(processor(), 1)
        server.stop()
        server.start()  # without its schemas
        assert server.register("e-value", swapped) == id

        # The first look goes on beside what is read meanwhile; a service that is restarted knows by the next record.
        again = processor()
        thread = threading.Thread(target=again.run)
        thread.start()
        try:

            def told() -> str | None:
                log.append("t", [Message(framed(id, written(LABELLED, event)), time=1.7e9)])
                return next((part.reason for part in health.report() if "another schema" in part.reason), None)

            reason = until("the learner to stop", told)
            assert f"another schema under id {id} than the one that records were read with" in reason
        finally:
            again.stop()
            thread.join()
    finally:
        server.stop()


def _until_learned(processor: Processor, events: int) -> None:
    thread = threading.Thread(target=processor.run)
    thread.start()
    try:
        until("the events to be learned", lambda: processor.events_learned == events)
    finally:
        processor.stop()
        thread.join()
