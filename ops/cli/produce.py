"""`thalweg produce`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from thalweg.ops.config.config import Config
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.run.app import new_learner, open_configured_log
from thalweg.proto.encode import EVENT_BATCH_HEADERS, to_event_batch, to_json
from thalweg.proto.event import Batch
from thalweg.proto.rejected import Rejected
from thalweg.proto.schema import Schema
from thalweg.stream.log.log import Log, Message
from thalweg.stream.sources.files import CsvMapping, read_events

_CHUNK = 1000
_NAMED = 5  # of the lines left out


def run(
    config: Config, topic: str, path: Path, mapping: CsvMapping, rate: float | None, per_record: int, limit: int | None
) -> None:
    """Append a file's events to a topic that one of the models follows."""
    schema = _schema(config, topic)
    log = open_configured_log(config)
    console = Console(soft_wrap=True, highlight=False)
    sent, left_out = 0, 0
    try:
        with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
            task = bar.add_task("events", total=limit)
            for count, rejected in append_events(log, topic, path, schema, mapping, rate, per_record, limit):
                for line in rejected[: max(0, _NAMED - left_out)]:
                    console.print(f"line {line.row}: {line.reason}: {line.detail}", markup=False)
                sent, left_out = sent + count, left_out + len(rejected)
                bar.update(task, completed=sent)
    finally:
        log.close()
    lines = "line" if left_out == 1 else "lines"
    console.print(f"appended {sent:,} events to {topic}" + (f", left out {left_out:,} bad {lines}" if left_out else ""))


def append_events(
    log: Log,
    topic: str,
    path: Path,
    schema: Schema,
    mapping: CsvMapping,
    rate: float | None,
    per_record: int,
    limit: int | None,
) -> Iterator[tuple[int, list[Rejected]]]:
    """Append chunk by chunk, at most `rate` events a second; yields the events appended and the lines left out.

    An event keeps its own time; one that has none happens as it is appended.
    """
    paced = max(1, min(_CHUNK, int((rate or 1e9) / 20)))  # twenty steps a second look smooth
    chunk = per_record * max(1, paced // per_record)
    parts = read_events(path, schema, mapping, limit=limit, chunk=chunk, clock=time.time)
    started, sent = time.monotonic(), 0
    while True:
        if rate is not None:  # before reading, so that the time of an event is when it is appended
            time.sleep(max(0.0, started + sent / rate - time.monotonic()))
        part = next(parts, None)
        if part is None:
            break
        if len(part.batch):
            log.append(topic, messages(part.batch, per_record))
        sent += len(part.batch)
        yield len(part.batch), part.rejected


def messages(batch: Batch, per_record: int) -> list[Message]:
    """The records of a batch: JSON events, or `EventBatch` records of so many."""
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
