"""Several learner processes of one service, in one: they share the models out, and no model is learned by two."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ops.run.test_learning import configuration, learner, saved
from tests.samples import events
from tests.services.processes import until
from tests.stream.log.partitions import PartitionedLog
from thalweg.memory.exchange.commands import InMemoryCommandQueue
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.ops.cli.produce import messages
from thalweg.ops.config.config import Config
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.run.learning import Learning
from thalweg.ops.run.processes import run_learners
from thalweg.ops.run.shards.group import member_name
from thalweg.ops.run.stop_request import StopRequest
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.log.in_memory import InMemoryLog

NAMES = "abc"


def configured(folder: Path, learners: int) -> Config:
    models = dict.fromkeys(NAMES, 'learner = "ridge"')
    return configuration(folder, f"learners = {learners}\n", **models)


@contextmanager
def process(config: Config, log: InMemoryLog, number: int) -> Iterator[HealthRegistry]:
    """What the process of this number runs."""
    registry, live = HealthRegistry(), Path(config.service.state_dir) / "live"
    live.mkdir(parents=True, exist_ok=True)
    made = Learning(config, log, InMemoryCommandQueue(), live, registry, number=number)
    made.start()
    try:
        yield registry
    finally:
        made.close()


def learn(config: Config, log: InMemoryLog, upto: int) -> None:
    """A whole life of the service: all of its processes, until every model has learned so many events."""
    with ExitStack() as stack:
        for number in range(1, config.service.learners + 1):
            stack.enter_context(process(config, log, number))
        until("all to learn", lambda: all(saved(config, name) == upto for name in NAMES))


def hashes(config: Config) -> dict[str, str]:
    kept = {name: FolderSnapshots(Path(config.service.state_dir) / name).manifests()[-1] for name in NAMES}
    return {name: manifest.state_sha256 for name, manifest in kept.items()}


def test_each_has_its_share_and_together_they_have_all(tmp_path: Path) -> None:
    config, log = configured(tmp_path, 2), InMemoryLog()
    log.append("t", messages(events(20), 1))

    with process(config, log, 1) as first:
        until("its models to learn", lambda: saved(config, "a") == saved(config, "c") == 20)
        with process(config, log, 2) as second:
            until("the other to learn", lambda: saved(config, "b") == 20)

    def models(registry: HealthRegistry) -> set[str]:
        return {one.model for one in registry.report() if one.component == "learner"}

    assert (models(first), models(second)) == ({"a", "c"}, {"b"})


def test_from_one_run_to_the_next_there_may_be_more_or_fewer_of_them(tmp_path: Path) -> None:
    several, alone = InMemoryLog(), InMemoryLog()
    folders = tmp_path / "several", tmp_path / "alone"
    for folder in folders:
        folder.mkdir()

    for life, learners in enumerate((2, 3, 1, 2), 1):
        for log, folder, count in ((several, folders[0], learners), (alone, folders[1], 1)):
            log.append("t", messages(events(20, 20 * (life - 1)), 1))
            learn(configured(folder, count), log, 20 * life)

    assert hashes(configured(folders[0], 1)) == hashes(configured(folders[1], 1))


def test_two_processes_never_learn_one_model_however_many_each_thinks_there_are(tmp_path: Path) -> None:
    log = InMemoryLog()
    log.append("t", messages(events(20), 1))
    one, two = configured(tmp_path, 1), configured(tmp_path, 2)

    with process(two, log, 2) as other:
        until("b to be learned by the one", lambda: learner(other, "b").state == "running")
        with process(one, log, 1) as all_of_them:
            until("its other models to learn", lambda: saved(one, "a") == saved(one, "b") == saved(one, "c") == 20)
            waiting = until(
                "b to wait", lambda: found if (found := learner(all_of_them, "b")).state == "waiting" else None
            )
            assert waiting.reason.startswith("in use by learner-2 (process ")
            assert learner(other, "b").state == "running"
        assert learner(all_of_them, "b").state == "stopped"  # told to stop while it waited
    with process(one, log, 1) as later:
        log.append("t", messages(events(20, 20), 1))
        until("b to be learned there", lambda: saved(one, "b") == 40)

    assert learner(later, "b").restarts == 0


def test_it_goes_on_as_soon_as_the_other_has_ended(tmp_path: Path) -> None:
    log, one, two = InMemoryLog(), configured(tmp_path, 1), configured(tmp_path, 2)

    with ExitStack() as stack:
        with process(two, log, 2):
            until("b to begin", lambda: saved(two, "b") == 0 and (tmp_path / "state" / "b" / ".learner.lock").exists())
            registry = stack.enter_context(process(one, log, 1))
            until("b to wait", lambda: learner(registry, "b").state == "waiting")
        log.append("t", messages(events(20), 1))
        until("b to be learned here", lambda: saved(one, "b") == 20)


@pytest.mark.parametrize("url", ["", "file:{folder}/objects"])
def test_the_processes_of_one_host_share_the_partitions_of_a_model_and_its_folders(tmp_path: Path, url: str) -> None:
    service = f'learners = 2\nstate_url = "{url.format(folder=tmp_path)}"\n[log]\nurl = "kafka://localhost:9092"\n'
    scaled = 'learner = "ridge"\nsnapshot_seconds = 0.1\nbatch_events = 10\n[model.scale]\nanswers = "key"'
    config, log = configuration(tmp_path, service, m=scaled), PartitionedLog(4)

    def append(count: int, first: int) -> None:
        keys = [f"user-{row % 17}" for row in range(count)]
        log.append("t", messages(replace(events(count, first, seed=first), keys=keys), 1))

    def owned(registry: HealthRegistry) -> set[str]:
        return {one.model for one in registry.report() if one.component == "learner"} - {"m"}

    def all_learned() -> bool:
        return all(saved(config, f"m~{part.number}") == end for part, (_, end) in log.bounds("t").items())

    append(200, 0)
    with process(config, log, 1) as first:
        until("all of them", lambda: len(owned(first)) == 4)
        until("them to learn", all_learned)
        with process(config, log, 2) as second:
            until("half of them each", lambda: len(owned(first)) == len(owned(second)) == 2)
            append(200, 200)
            until("them to learn on", all_learned)
            assert owned(first) | owned(second) == {f"m~{number}" for number in range(4)}
        log.groups["thalweg.m"].expel(member_name(config, config.model[0], 2))  # its session ends
        until("all of them again", lambda: len(owned(first)) == 4)
        append(200, 400)
        until("them to learn on", all_learned)
    assert not [one for one in first.report() if one.restarts]


def test_a_process_for_which_no_model_is_left_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"service\.learners: no model is left for learner-4"):
        run_learners(configured(tmp_path, 5), StopRequest(), 4)
