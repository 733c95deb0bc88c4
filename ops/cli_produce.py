"""`thalweg produce`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from thalweg.ops.app import new_learner, open_configured_log
from thalweg.ops.config import Config, ConfigurationError
from thalweg.proto.encode import EVENT_BATCH_HEADERS, to_event_batch, to_json
from thalweg.proto.event import Batch, Schema
from thalweg.stream.files import CsvMapping, read_events
from thalweg.stream.log import Log, Message

_CHUNK = 1000


def run(
    config: Config, topic: str, path: Path, mapping: CsvMapping, rate: float | None, per_record: int, limit: int | None
) -> None:
    """Append a file's events to a topic that one of the models follows; times are those of now where it has none."""
    schema = _schema(config, topic)
    log = open_configured_log(config)
    console = Console()
    try:
        with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
            task = bar.add_task("events", total=limit)
            sent, rejected = 0, 0
            for count, bad in append_events(log, topic, path, schema, mapping, rate, per_record, limit):
                sent, rejected = sent + count, rejected + bad
                bar.update(task, completed=sent)
    finally:
        log.close()
    console.print(f"appended {sent:,} events to {topic}" + (f", left out {rejected:,} bad lines" if rejected else ""))


def append_events(
    log: Log,
    topic: str,
    path: Path,
    schema: Schema,
    mapping: CsvMapping,
    rate: float | None,
    per_record: int,
    limit: int | None,
) -> Iterator[tuple[int, int]]:
    """Append chunk by chunk; yields events appended and lines left out."""
    paced = max(1, min(_CHUNK, int((rate or 1e9) / 20)))  # twenty steps a second look smooth
    chunk = per_record * max(1, paced // per_record)
    started, sent = time.monotonic(), 0
    for part in read_events(path, schema, mapping, limit=limit, chunk=chunk):
        if rate is not None:
            time.sleep(max(0.0, started + (sent + len(part.batch)) / rate - time.monotonic()))
        if len(part.batch):
            log.append(topic, messages(part.batch, per_record, with_times=mapping.time is not None))
        sent += len(part.batch)
        yield len(part.batch), len(part.rejected)


def messages(batch: Batch, per_record: int, *, with_times: bool = True) -> list[Message]:
    """The records of a batch: JSON events, or `EventBatch` records of so many."""
    if not with_times:
        batch = Batch(batch.inputs, batch.labels, batch.weights, batch.times * 0 + time.time(), batch.ids, batch.keys)
    if per_record == 1:
        keys = batch.keys or [None] * len(batch)
        return [Message(value, None if key is None else key.encode()) for value, key in zip(to_json(batch), keys)]
    return [Message(to_event_batch(part), headers=EVENT_BATCH_HEADERS) for part in batch.micro_batches(per_record)]


def _schema(config: Config, topic: str) -> Schema:
    for model in config.model:
        if model.topic == topic:
            return new_learner(model).schema
    topics = ", ".join(model.topic for model in config.model)
    raise ConfigurationError([f"no model follows the topic {topic!r}; known: {topics}"])
