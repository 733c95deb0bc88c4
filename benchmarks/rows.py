"""JSON rows of ten named columns from Kafka into ridge, behind the feature stage, by each client of Kafka.

The rows are those of a user: columns, label and id by their own names, `[model.fields]` says which is which. The whole
loop runs: poll, journal, decode, transform, predict, grade, learn, publish, snapshot. Ridge without expansion and with
one decay, as in `ingest`, and with its defaults. This process has one core; the broker has the other.

The same rows then come in the other forms (framed for a schema registry: Avro, Protobuf; our own: `Event`,
`EventBatch`), beside JSON in the same rounds, through the fastest client there is.
"""

from __future__ import annotations

import statistics
import tempfile
import uuid
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.columns import Stream, ten_columns
from benchmarks.ingest import PARAMS, Steady, clients, kafka_servers
from benchmarks.report import Result, at_least, left_out, show
from benchmarks.row_forms import Framed, event_records, framed_records
from benchmarks.scale import Scale
from tests.services.processes import Unavailable
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.models.columns.make import make_learner
from thalweg.models.columns.settings import columns_of
from thalweg.models.contract.learner import LearnerContext
from thalweg.proto.rows.fields import FieldMapping
from thalweg.proto.schema import column_specs
from thalweg.stream.evaluation.prequential import Prequential
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor
from thalweg.stream.learn.settings import ProcessorSettings
from thalweg.stream.log.log import Log, Message
from thalweg.stream.publication.file_channel import FilePublisher
from thalweg.stream.registry.schemas import KnownSchemas

_FIELDS = FieldMapping(label="answer", id="row")
_BATCH_EVENTS = 500


def answers_of(stream: Stream) -> list[bool]:
    """What is to be learned."""
    return [bool(answer) for answer in np.random.default_rng(1).integers(0, 2, len(stream.labels)).tolist()]


def rows_of(stream: Stream) -> list[dict[str, Any]]:
    """The rows as a user's producer has them: a missing value is null or has no field."""
    return [
        {"row": f"r{number}", **{name: value for name, value in row.items() if value != ""}, "answer": answer}
        for number, (row, answer) in enumerate(zip(stream.rows(), answers_of(stream)))
    ]


def records(stream: Stream) -> list[Message]:
    """The rows as JSON."""
    return [Message(msgspec.json.encode(row)) for row in rows_of(stream)]


def whole(
    log: Log,
    topic: str,
    stream: Stream,
    params: dict[str, Any],
    schemas: Framed | None = None,
    fields: FieldMapping | None = _FIELDS,
) -> float:
    """Seconds of the whole loop."""
    columns, count = columns_of(stream.columns), len(stream.labels)
    context = LearnerContext(inputs=column_specs(columns), columns=columns, params=params)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        snapshots = FolderSnapshots(folder / "m")
        snapshots.prepare()
        steady = Steady()
        settings = ProcessorSettings(
            model="m", topic=topic, batch_events=_BATCH_EVENTS, idle_seconds=0.0, fields=fields
        )
        processor = Processor(
            make_learner("ridge", context),
            log,
            snapshots,
            settings,
            journal=FileJournal(folder / "m" / "journal"),
            evaluator=Prequential(),
            ports=Ports(
                publisher=FilePublisher(folder / "live"),
                observer=steady,
                schemas=None if schemas is None else KnownSchemas(schemas, folder / "m" / "schemas.json"),
            ),
        )
        processor.run(until_end=True)
        assert processor.events_learned == count, f"{processor.events_learned} of {count} events were learned"
    return steady.seconds(count)


def forms(log: Log, stream: Stream, rounds: int) -> list[Result]:
    """Each form beside JSON, round by round."""
    rows, framed = rows_of(stream), Framed(stream)
    single, batches = event_records(stream, answers_of(stream))
    written: dict[str, tuple[list[Message], Framed | None, FieldMapping | None]] = {
        "JSON": ([Message(msgspec.json.encode(row)) for row in rows], None, _FIELDS),
        "Avro": (framed_records(rows, framed.avro), framed, _FIELDS),
        "Protobuf": (framed_records(rows, framed.protobuf), framed, _FIELDS),
        "Event": (single, None, None),
        "EventBatch": (batches, None, None),
    }
    topics = {form: f"t-{uuid.uuid4().hex[:8]}" for form in written}
    for form, (appended, _, _) in written.items():
        for start in range(0, len(appended), 20_000):
            log.append(topics[form], appended[start : start + 20_000])
    count = len(rows)
    rates: dict[str, list[float]] = {form: [] for form in written}
    for _ in range(rounds):
        for form, (_, schemas, fields) in written.items():
            rates[form].append(count / whole(log, topics[form], stream, PARAMS, schemas, fields))
    json_rate = statistics.median(rates.pop("JSON"))
    results = [Result(name="ten columns, JSON beside the other forms", value=json_rate, unit="events/s")]
    for form, found in rates.items():
        rate = statistics.median(found)
        results.append(Result(name=f"ten columns, {form}", value=rate, unit="events/s"))
        results.append(at_least(f"ten columns, {form} against JSON", rate / json_rate, "x", 1.0, ""))
    return results


def run(scale: Scale = Scale.FULL) -> list[Result]:
    """Each client, with the small head and with the default one."""
    rounds, count = scale.of(5, quick=3, tiny=1), scale.of(200_000, quick=100_000, tiny=1100)
    stream = ten_columns(count)
    results: list[Result] = []
    with threadpool_limits(1), tempfile.TemporaryDirectory() as name:
        try:
            with kafka_servers(Path(name)) as servers:
                for client, log in clients(servers):
                    topic = f"t-{uuid.uuid4().hex[:8]}"
                    appended = records(stream)
                    for start in range(0, count, 20_000):
                        log.append(topic, appended[start : start + 20_000])
                    for kind, params in (("no expansion, one decay", PARAMS), ("default", {})):
                        rate = statistics.median(count / whole(log, topic, stream, params) for _ in range(rounds))
                        figure = f"ten columns by {client}, ridge, {kind}"
                        if client == "confluent" and params:
                            results.append(at_least(figure, rate, "events/s", 120_000, ""))
                        else:
                            results.append(Result(name=figure, value=rate, unit="events/s"))
                    if client == "confluent":
                        results += forms(log, stream, rounds)
                    log.close()
        except Unavailable as error:
            results.append(left_out("Kafka", str(error)))
    return results


if __name__ == "__main__":
    show("rows", run(Scale.asked()))
