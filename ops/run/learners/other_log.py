"""A log and states that do not belong together: often one of two settings was changed, and the other forgotten."""

from __future__ import annotations

import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

from thalweg.memory.snapshots.manifest import Manifest
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.ops.config.config import Config
from thalweg.ops.config.model import ModelConfig
from thalweg.ops.run.app import open_configured_log
from thalweg.proto.records import Partition
from thalweg.stream.journal.entries import BlockEntry, Range
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.journal.journal import JournalError
from thalweg.stream.log.identity import diverged
from thalweg.stream.log.log import Epochs, LogError
from thalweg.stream.log.sqlite_file import looked_up
from thalweg.stream.shards.names import shard_of

_PATIENCE_SECONDS = 5.0  # for brokers, which whoever checks a file may not reach

Topics = Mapping[str, tuple[str | None, Mapping[Partition, int], Epochs]]
"""By topic its identity, the offset that follows the last record of each partition, and its epochs."""


def left_at_default(config: Config) -> Iterator[str]:
    """For people: files that stay in `state` although the state folder is another one."""
    folder = Path(config.service.state_dir)
    for key, section, file in (("log", config.log, "log.db"), ("store", config.store, "store.db")):
        if section.url == f"sqlite:state/{file}" and folder.resolve() != Path("state").resolve():
            how = f"is {section.url}" if "url" in section.model_fields_set else f"not set, so that it is {section.url}"
            yield (
                f"{key}.url: {how}, which is not in service.state_dir ({folder}): set "
                f"it, to 'sqlite:{folder / file}' if it is to be there"
            )


def other_logs(config: Config) -> Iterator[str]:
    """For people: of each model whose state was learned from another log than that of `log.url`, what would happen."""
    saved = [found for model in config.model for found in _saved(config, model)]
    if not saved:
        return
    # before the log is looked at: what a service that runs learns meanwhile is in the log first
    journals = {name: _journalled(config, name, one.version) for name, one in saved}
    topics = _present(config, {topic for _, one in saved for topic in one.log_identity})
    where = config.log.url
    for name, one in saved:
        for topic, identity in one.log_identity.items():
            read = {partition: last for partition, last in one.offsets.items() if partition.topic == topic}
            if topics is None or topic not in topics:
                if topics is not None and where.startswith("sqlite:") and read:
                    yield _anew(name, topic, read, f"{where} has no such topic")
                continue
            found, ends, epochs = topics[topic]
            if found is not None and found != identity:
                yield _anew(name, topic, read, f"that of {where} is another one")
                continue
            for partition, last in read.items():
                if (following := ends.get(partition)) is None:
                    continue
                first = diverged(one.log_epochs.get(topic, ()), epochs, following, last)
                if first is None and following <= last:
                    first = following
                if first is not None:
                    yield _older(name, partition, where, following, first, last)
                elif since := [part for part in journals[name].get(partition, ()) if part.last >= following]:
                    yield _older_than_the_journal(
                        name, partition, where, following, since[0].first, max(part.last for part in since)
                    )


def _older(name: str, partition: Partition, where: str, following: int, first: int, last: int) -> str:
    what = f"ends before offset {following}" if first >= following else f"has other records from offset {first} on"
    return (
        f"model {name!r}: {partition} {what} in {where}, and the state has read up to {last}: an older copy of the "
        "log? What is gone from it stays learned, each event once, what was not saved in a snapshot is lost, and "
        f"learning goes on at offset {first}, the end of that copy; put back a newer copy to learn, and to verify, "
        "exactly what was there"
    )


def _older_than_the_journal(name: str, partition: Partition, where: str, following: int, first: int, last: int) -> str:
    return (
        f"model {name!r}: {partition} ends before offset {following} in {where}, and the state has read up to {last} "
        "since its newest snapshot: an older copy of the log? What was learned since that snapshot of what is gone is "
        f"lost, and learning goes on at offset {first}; put back a newer copy to keep it"
    )


def _journalled(config: Config, name: str, version: int) -> Mapping[Partition, Sequence[Range]]:
    """What was learned after this version, by partition; none where the journal cannot be read."""
    found: dict[Partition, list[Range]] = defaultdict(list)
    folder = Path(config.service.state_dir) / name / "journal"
    with suppress(OSError, JournalError):  # the start says what is wrong with it
        for entry in FileJournal(folder, read_only=True).entries(version):
            for part in entry.ranges if isinstance(entry, BlockEntry) else ():
                found[part.partition].append(part)
    return found


def _anew(name: str, topic: str, read: Mapping[Partition, int], why: str) -> str:
    upto = ", ".join(f"{partition} up to offset {last}" for partition, last in sorted(read.items())) or "nothing yet"
    return (
        f"model {name!r}: its state was learned from another log's topic {topic!r} ({upto}); {why}, which would be "
        "read from its beginning, and ids that came before be dropped as duplicates. Do log.url and service.state_dir "
        "belong together?"
    )


def _saved(config: Config, model: ModelConfig) -> Iterator[tuple[str, Manifest]]:
    """The newest manifest of a model, or of each of its shards."""
    folder = Path(config.service.state_dir)
    names = [model.name]
    if model.sharded is not None:
        names = sorted(path.name for path in folder.glob(f"{model.name}~*") if shard_of(path.name) is not None)
    for name in names:
        with suppress(OSError):  # told with what was changed
            if kept := FolderSnapshots(folder / name).manifests():
                yield name, kept[-1]


def _present(config: Config, wanted: set[str]) -> Topics | None:
    """Those of these topics that are there; None where the log cannot be asked."""
    url = config.log.url
    if url.startswith("sqlite:"):
        path = Path(url.removeprefix("sqlite:"))
        try:  # nothing is created: a log that is not there is begun by the service, not by who looks
            return looked_up(path, wanted) if path.exists() else {}
        except (sqlite3.Error, OSError):
            return None
    found: list[Topics] = []

    def ask() -> None:
        with suppress(LogError), closing(open_configured_log(config)) as log:
            found.append(
                {
                    topic: (
                        identity,
                        {partition: following for partition, (_, following) in log.bounds(topic).items()},
                        log.epochs(topic),
                    )
                    for topic in wanted
                    if (identity := log.identity(topic)) is not None
                }
            )

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_PATIENCE_SECONDS)
    return found[0] if found else None
