"""`thalweg produce`."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sized
from functools import partial
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

from thalweg.ops.config.config import Config
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.app import event_schema, open_configured_log
from thalweg.ops.run.failed import Failed
from thalweg.proto.bounds.limits import MAX_FUTURE_SECONDS
from thalweg.proto.encode import EVENT_BATCH_HEADERS, EVENT_HEADERS, to_event_batch, to_events, to_json
from thalweg.proto.event import Batch, cut
from thalweg.proto.rejected import Rejected
from thalweg.proto.schema import Schema
from thalweg.stream.log.log import Log, Message
from thalweg.stream.publication.state_before import has_state, must_not_be_away, other_before
from thalweg.stream.sources.files import CsvMapping, must_be_there, read_events, read_labels

_Run = TypeVar("_Run", bound=Sized)
_RUN = 1000  # events appended at once, about
_LONGEST_RUN = 100_000
_NAMED = 5  # of the lines left out


def run(
    config: Config, topic: str, path: Path, mapping: CsvMapping, rate: float | None, per_record: int, limit: int | None
) -> None:
    """Append a file's events to a topic that a model follows, or its labels to a model's labels topic.

    Raises:
        ConfigurationError: No model follows the topic.
        FileError: The file cannot be read.
        Failed: Lines were left out; all others are appended.
    """
    models, what = _followers(config, topic)
    schema = event_schema(models[0])
    if what == "labels" and per_record > 1:
        raise ConfigurationError([f"--batch: expected 1 for the labels topic {topic!r}, got {per_record}"])
    for model in models if what != "labels" else ():
        if (column := model.column_of_label(mapping.label)) is not None:
            label = f"--label {mapping.label}: it is column {column!r} of model {model.name!r}, too"
            raise ConfigurationError([f"{label}: nothing is left to predict"])
    must_be_there(path)  # else a log would be begun for nothing
    console = Console(soft_wrap=True, highlight=False)
    sent, left_out = 0, Counter[str]()
    say = partial(Console(stderr=True, soft_wrap=True, highlight=False).print, markup=False)
    log = _opened(config, say)
    try:
        with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
            task = bar.add_task(what, total=limit)
            if what == "labels":
                steps = append_labels(log, topic, path, schema, rate, limit, mapping.encoding, say)
            else:
                whole = math.lcm(*(model.batch_events for model in models if model.batch_events != "auto"))
                ahead = max(model.max_future_seconds for model in models)
                steps = append_events(log, topic, path, schema, mapping, rate, per_record, limit, whole, ahead, say)
            for count, rejected in steps:
                for line in rejected[: max(0, _NAMED - left_out.total())]:
                    say(f"line {line.row}: {line.reason}: {line.detail}")
                sent += count
                left_out.update(line.reason for line in rejected)
                bar.update(task, completed=sent)
    finally:
        log.close()
    what = what.removesuffix("s") if sent == 1 else what
    console.print(f"appended {sent:,} {what} to {topic}{_where(config.log.url)}", markup=False)
    if left_out:
        lines = "line was" if left_out.total() == 1 else "lines were"
        why = ", ".join(f"{count:,} {reason}" for reason, count in left_out.most_common())
        raise Failed(f"{left_out.total():,} {lines} left out: {why}")


def _opened(config: Config, say: Callable[[str], None]) -> Log:
    """The log; one that is begun where there was another before is told. Raises LogError; FolderElsewhere where the one
    of a service that runs was in its state folder, which is away or was replaced.
    """
    url, folder = config.log.url, Path(config.service.state_dir).absolute()
    file = Path(url.removeprefix("sqlite:")).absolute()
    new = url.startswith("sqlite:") and not file.exists()
    if url.startswith("sqlite:") and folder in file.parents:
        must_not_be_away(folder)
    odd = new and (has_state(folder) or other_before(folder))
    log = open_configured_log(config)
    if odd:
        say(f"began a new log, {file}: there was none")
    return log


def _where(url: str) -> str:
    """Where an embedded log is, if its path depends on the working directory."""
    path = Path(url.removeprefix("sqlite:"))
    return f" in sqlite:{path.absolute()}" if url.startswith("sqlite:") and not path.is_absolute() else ""


def append_events(
    log: Log,
    topic: str,
    path: Path,
    schema: Schema,
    mapping: CsvMapping,
    rate: float | None,
    per_record: int,
    limit: int | None,
    batch_events: int = 1,
    max_future_seconds: float = MAX_FUTURE_SECONDS,
    notice: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[int, list[Rejected]]]:
    """Append run by run, at most `rate` events a second; yields the events appended and the lines left out.

    An event keeps its own time; one that has none happens as it is appended. Runs are whole micro-batches of
    `batch_events` where the rate allows, so that a service which reads them cuts what `replay` cuts.
    """
    rejected: list[Rejected] = []
    tombstones = 0
    size = run_length(rate, per_record, batch_events)

    def batches() -> Iterator[Batch]:
        nonlocal tombstones
        for part in read_events(
            path,
            schema,
            mapping,
            limit=limit,
            chunk=size,
            clock=time.time,
            max_future_seconds=max_future_seconds,
            notice=notice,
        ):
            rejected.extend(part.rejected)
            tombstones += part.tombstones
            yield part.batch

    for batch in _paced(cut(batches(), size), rate):
        log.append(topic, messages(batch, per_record, rows=_maps(schema)))
        yield len(batch), rejected[:]
        rejected.clear()
    _tell_tombstones(tombstones, notice)
    yield 0, rejected  # of the lines after the last event


def append_labels(
    log: Log,
    topic: str,
    path: Path,
    schema: Schema,
    rate: float | None,
    limit: int | None,
    encoding: str = "",
    notice: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[int, list[Rejected]]]:
    """Append label records as they are, with their id as key; yields the labels appended and the lines left out."""
    runs = read_labels(path, schema, limit=limit, chunk=run_length(rate), encoding=encoding)
    rejected: list[Rejected] = []
    tombstones = 0

    def records() -> Iterator[list[tuple[str, bytes]]]:
        nonlocal tombstones
        for part in runs:
            rejected.extend(part.rejected)
            tombstones += part.tombstones
            if part.records:
                yield part.records

    for part in _paced(records(), rate):
        log.append(topic, [Message(value, id.encode()) for id, value in part])
        yield len(part), rejected[:]
        rejected.clear()
    _tell_tombstones(tombstones, notice)
    yield 0, rejected


def _tell_tombstones(count: int, notice: Callable[[str], None]) -> None:
    if count:
        notice(f"{count:,} of the lines are null, which says that a key was deleted: nothing of them is appended")


def run_length(rate: float | None, per_record: int = 1, batch_events: int = 1) -> int:
    """Events to append at once: whole records and, where the rate allows, whole micro-batches."""
    wanted = max(1, min(_RUN, int((rate or 1e9) / 20)))  # twenty steps a second look smooth
    whole = math.lcm(per_record, batch_events)
    if whole > (_LONGEST_RUN if rate is None else wanted):
        whole = per_record
    return whole * max(1, wanted // whole)


def _paced(runs: Iterable[_Run], rate: float | None) -> Iterator[_Run]:
    """The runs, each read no earlier than its first event is due."""
    waiting, started, sent = iter(runs), time.monotonic(), 0
    while True:
        if rate is not None:  # before reading, so that the time of an event is when it is appended
            time.sleep(max(0.0, started + sent / rate - time.monotonic()))
        run = next(waiting, None)
        if run is None:
            return
        yield run
        sent += len(run)


def _maps(schema: Schema) -> bool:
    """Whether a JSON record of it is anything but what the event holds."""
    named_numbers = schema.label == "number" and bool(schema.classes)
    return bool(schema.columns) or schema.fields is not None or named_numbers


def messages(batch: Batch, per_record: int, *, rows: bool = False) -> list[Message]:
    """The records of a batch: JSON events, or `EventBatch` records of so many.

    `rows`: the model takes rows of the user's own, or names for 0 and 1; then a record is a protobuf `Event`, which
    needs no mapping back.
    """
    if per_record == 1 and rows:
        keys = batch.keys or [None] * len(batch)
        return [
            Message(value, None if key is None else key.encode(), EVENT_HEADERS)
            for value, key in zip(to_events(batch), keys)
        ]
    if per_record == 1:
        keys = batch.keys or [None] * len(batch)
        return [Message(value, None if key is None else key.encode()) for value, key in zip(to_json(batch), keys)]
    return [Message(to_event_batch(part), headers=EVENT_BATCH_HEADERS) for part in batch.micro_batches(per_record)]


def _followers(config: Config, topic: str) -> tuple[list[ModelConfig], str]:
    """The models that read a topic, and what they read from it: events or labels."""
    for what, attribute in (("events", "topic"), ("labels", "labels_topic")):
        models = [model for model in config.model if getattr(model, attribute) == topic]
        if models:
            return models, what
    known = dict.fromkeys(name for model in config.model for name in (model.topic, model.labels_topic) if name)
    raise ConfigurationError([f"no model follows the topic {topic!r}; known: {', '.join(known)}"])
