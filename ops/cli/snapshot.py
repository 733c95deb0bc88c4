"""`thalweg snapshot …`."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Collection, Generator, Mapping
from contextlib import closing
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.ops.cli.verified import compared
from thalweg.ops.config.config import Config
from thalweg.ops.run.app import model_folder, new_learner, open_configured_log, schemas_of, settings_of
from thalweg.ops.run.failed import Failed
from thalweg.ops.run.learners.other_log import other_logs
from thalweg.ops.run.shards.known import must_be_one
from thalweg.proto.bounds.counted import counted
from thalweg.stream.evaluation.figures.text import figure_text
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.learn.blocks import HistoryLost
from thalweg.stream.learn.rebuild import BEGUN_ANEW, Rebuilt, begun_anew, rebuild_each
from thalweg.stream.learn.settings import StateMismatch, check_settings
from thalweg.stream.publication.state_before import other_before


def list_versions(config: Config, name: str) -> None:
    """Print a table of the snapshots."""
    kept = _snapshots(config, name).manifests()
    if not kept:
        raise Failed(_none(config, name))
    table = Table(
        "version", "parent", "created", "events learned", "size", "metrics", "recent", "state sha256", box=None
    )
    for manifest in kept:
        created = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(manifest.created))
        table.add_row(
            str(manifest.version),
            "-" if manifest.parent is None else str(manifest.parent),
            created,
            f"{manifest.events_learned:,}",
            f"{manifest.size_bytes / 1e6:.2f} MB",
            _figures(manifest.metrics),
            _figures(manifest.recent),
            manifest.state_sha256[:12],
        )
    Console(width=None if Console().is_terminal else 200).print(table)


def _figures(metrics: Mapping[str, float]) -> str:
    return " ".join(f"{key}={figure_text(value)}" for key, value in metrics.items())


def show(config: Config, name: str, version: int | None) -> None:
    """Print the manifest of this version; None: of the newest."""
    snapshots = _snapshots(config, name)
    if version is None:
        kept = snapshots.manifests()
        if not kept:
            raise Failed(_none(config, name))
        version = kept[-1].version
    print(json.dumps(snapshots.load(version).manifest.to_json(), indent=2))


def verify(config: Config, name: str, version: int | None, *, from_log: bool) -> None:
    """Print for each version whether it is what it should be; fail if one is not."""
    snapshots = _snapshots(config, name)
    kept = {manifest.version: manifest for manifest in snapshots.manifests()}
    versions = list(kept) if version is None else [version]
    if not versions:
        raise Failed(_none(config, name))
    found = {one: snapshots.verify(one) for one in versions}
    settings = settings_of(config.find(name), config.service.max_message_bytes)
    others = 0
    for one in versions:
        if from_log and not found[one]:  # learned again under these settings, it would be another state
            try:
                check_settings(kept[one], settings)
            except StateMismatch as error:
                found[one] = [str(error)]
                others += 1
    sound = [one for one in versions if from_log and one > 0 and not found[one]]
    starts = _starts(model_folder(config, config.find(name)), sound, kept) if sound else {}
    first = [one for one, (_, found_one) in starts.items() if not found_one] if version is None else []
    sound = [one for one in sound if one not in first]
    bad = elsewhere = 0
    with closing(_rebuilt(config, name, {one: starts[one][0] for one in sound})) as rebuilding:
        for one, problems in found.items():
            if one in sound:
                try:
                    rebuilt = next(rebuilding)
                except HistoryLost as error:
                    alone = config.model_copy(update={"model": [config.find(name)]})
                    raise Failed("; ".join([f"{one}: cannot be rebuilt: {error}", *other_logs(alone)])) from error
                print(f"{one}: rebuilt from version {rebuilt.base}, {counted(rebuilt.events, 'event')} learned again")
                result = compared(snapshots, one, rebuilt)
                problems, elsewhere = result.problems, elsewhere + result.other_software
                if result.unlike:
                    print(f"{one}: not all of it is comparable: {result.unlike}")
            elif one in first:
                print(
                    f"{one}: not rebuilt: the journal begins after it, or there is no older snapshot to begin from, or "
                    f"none since {BEGUN_ANEW}"
                )
            elif from_log and one == 0 and not problems:
                print("0: the state before the first event: there is nothing to rebuild")
            print(f"{one}: {'ok' if not problems else '; '.join(problems)}")
            bad += bool(problems)
    count = len(versions)
    if from_log and versions == [0]:
        print("nothing that was learned is saved yet: a service saves every snapshot_events events, and when it stops")
    if bad > others + elsewhere:
        wrong = bad - others - elsewhere
        verb = "is not what it should be" if wrong == 1 else "are not what they should be"
        raise Failed(f"{wrong} of {counted(count, 'version')} {verb}")
    told = [
        f"{number} of {counted(count, 'version')} {'was' if number == 1 else 'were'} {how}"
        for number, how in ((others, "made under other settings"), (elsewhere, "learned by other software"))
        if number
    ]
    if told:
        raise Failed(f"{', '.join(told)} and cannot be verified from the log")


def _starts(folder: Path, versions: list[int], kept: Collection[int]) -> dict[int, tuple[int, bool]]:
    """From which version on a snapshot is needed to rebuild each, and whether there is one: not of the oldest after
    some time, nor of what begins anew (`begun_anew`).
    """
    journal = FileJournal(folder / "journal", read_only=True)
    begin, anew = journal.begins_after() or 0, begun_anew(journal, kept)
    found: dict[int, tuple[int, bool]] = {}
    for one in versions:
        start = max([0, *(first for first in anew if first <= one)])
        least = max(begin, start)
        found[one] = start, least == 0 or any(least <= older < one for older in kept)
    return found


def _rebuilt(config: Config, name: str, starts: Mapping[int, int]) -> Generator[Rebuilt]:
    """Each of these versions, in order, from a snapshot of a version from which on one is needed."""
    if not starts:
        return
    model = config.find(name)
    folder = model_folder(config, model)
    source = open_configured_log(config)
    try:
        with threadpool_limits(1):
            for start, versions in groupby(starts, key=lambda one: starts[one]):
                yield from rebuild_each(
                    lambda: new_learner(model),
                    source,
                    FolderSnapshots(folder),
                    FileJournal(folder / "journal", read_only=True),
                    settings_of(model, config.service.max_message_bytes),
                    list(versions),
                    schemas_of(config, model, read_only=True),
                    start,
                )
    finally:
        source.close()


def export(config: Config, name: str, version: int, to: Path) -> None:
    """Copy a version's folder."""
    problems = _snapshots(config, name).verify(version)
    if problems:
        raise Failed(f"version {version}: {'; '.join(problems)}")
    if to.exists():
        raise Failed(f"{to} is there already")
    shutil.copytree(model_folder(config, config.find(name)) / str(version), to)
    print(f"wrote {to}")


def _none(config: Config, name: str) -> str:
    """Why a model has no snapshots."""
    folder = Path(config.service.state_dir).absolute()
    if other_before(folder):
        what = "is there now and holds no state" if folder.exists() else "does not exist"
        return f"model {name!r} has no snapshots: {folder} {what}; another folder was there before: put it back"
    return f"model {name!r} has no snapshots in {folder}{'' if folder.exists() else ', which does not exist'}"


def _snapshots(config: Config, name: str) -> FolderSnapshots:
    must_be_one(config, name)
    return FolderSnapshots(model_folder(config, config.find(name)))
