"""A log and a state that do not belong together are told by `check`, which creates nothing."""

from __future__ import annotations

import shutil
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.ops.run.test_successors import _live_folders as _live_folders
from tests.samples import FEATURES, events
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.ops.cli.produce import messages
from thalweg.ops.config.config import Config, load
from thalweg.ops.run.app import new_learner, open_configured_log, settings_of
from thalweg.ops.run.learners.other_log import left_at_default, other_logs
from thalweg.stream.journal.file_journal import FileJournal
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor

TOPIC = f"other-{uuid.uuid4().hex[:8]}"


def configuration(folder: Path, log: str = "", state: str = "state") -> Config:
    path = folder / "thalweg.toml"
    section = f'[log]\nurl = "{log}"\n' if log else ""
    path.write_text(
        f'[service]\nstate_dir = "{state}"\n{section}[[model]]\nname = "m"\ntopic = "{TOPIC}"\nlearner = "ridge"\n'
        f'inputs.features = {{ shape = [{FEATURES}], dtype = "float32" }}\n'
    )
    return load(path, {})


def learned(config: Config, count: int) -> None:
    """Append so many events, and learn and save them."""
    (model,) = config.model
    with closing(open_configured_log(config)) as log:
        log.append(model.topic, messages(events(count), 1))
        folder = Path(config.service.state_dir) / "m"
        snapshots = FolderSnapshots(folder)
        snapshots.prepare()
        settings, journal = settings_of(model, 1 << 20), FileJournal(folder / "journal")
        Processor(new_learner(model), log, snapshots, settings, journal=journal, ports=Ports()).run(until_end=True)
        journal.close()


def killed(config: Config) -> None:
    """As if the process had ended before it saved its newest snapshot: what it learned is in the journal alone."""
    folder = Path(config.service.state_dir) / "m"
    shutil.rmtree(folder / str(FolderSnapshots(folder).manifests()[-1].version))


def test_a_state_folder_that_was_changed_alone_is_told(tmp_path: Path) -> None:
    assert list(left_at_default(configuration(tmp_path))) == []
    assert list(left_at_default(configuration(tmp_path, state=str(Path("state").absolute())))) == []  # the same one
    assert list(left_at_default(configuration(tmp_path, "sqlite:/x/log.db", "/x"))) == [
        "store.url: not set, so that it is sqlite:state/store.db, which is not in service.state_dir (/x): set it, to "
        "'sqlite:/x/store.db' if it is to be there"
    ]

    log, store = left_at_default(configuration(tmp_path, state="/x"))

    assert log.startswith("log.url: not set, so that it is sqlite:state/log.db, which is not in service.state_dir (/x)")
    assert store.startswith("store.url: not set")

    log, _ = left_at_default(configuration(tmp_path, "sqlite:state/log.db", "/x"))  # as `init` writes it

    assert log.startswith("log.url: is sqlite:state/log.db, which is not in service.state_dir (/x)")


def test_a_state_and_another_embedded_log_are_told_and_nothing_is_created(tmp_path: Path) -> None:
    state, where = str(tmp_path / "state"), tmp_path / "log.db"
    config = configuration(tmp_path, f"sqlite:{where}", state)
    assert list(other_logs(config)) == []  # nothing is saved yet
    learned(config, 40)
    assert list(other_logs(config)) == []

    away = configuration(tmp_path, f"sqlite:{tmp_path}/none.db", state)
    other = configuration(tmp_path, f"sqlite:{tmp_path}/other.db", state)
    (gone,) = other_logs(away)
    assert not (tmp_path / "none.db").exists()
    with closing(open_configured_log(other)) as log:
        log.append(TOPIC, messages(events(1), 1))
    (another,) = other_logs(other)

    begin = f"model 'm': its state was learned from another log's topic '{TOPIC}' ({TOPIC}/0 up to offset 39); "
    assert gone.startswith(
        f"{begin}sqlite:{tmp_path}/none.db has no such topic, which would be read from its beginning"
    )
    assert another.startswith(f"{begin}that of sqlite:{tmp_path}/other.db is another one, which would be read from its")
    assert another.endswith("Do log.url and service.state_dir belong together?")


def copied(where: Path, copy: Path) -> None:
    with closing(sqlite3.connect(where)) as now, closing(sqlite3.connect(copy)) as backup:
        now.backup(backup)


def put_back(copy: Path, where: Path) -> None:
    for file in where.parent.glob(f"{where.name}*"):
        file.unlink()
    shutil.copy(copy, where)


def test_a_log_that_is_older_than_the_state_is_told(tmp_path: Path) -> None:
    where, copy = tmp_path / "log.db", tmp_path / "copy.db"
    config = configuration(tmp_path, f"sqlite:{where}", str(tmp_path / "state"))
    with closing(open_configured_log(config)) as log:
        log.append(TOPIC, messages(events(10), 1))
        copied(where, copy)
    learned(config, 40)
    put_back(copy, where)

    (told,) = other_logs(config)

    assert told.startswith(
        f"model 'm': {TOPIC}/0 ends before offset 10 in sqlite:{where}, and the state has read up to 49: an older copy"
    )


@pytest.mark.parametrize("appended", [5, 90], ids=["less than was read", "more than was read"])
def test_an_older_copy_that_was_appended_to_is_told_however_much_it_was(tmp_path: Path, appended: int) -> None:
    where, copy = tmp_path / "log.db", tmp_path / "copy.db"
    config = configuration(tmp_path, f"sqlite:{where}", str(tmp_path / "state"))
    learned(config, 10)
    copied(where, copy)
    learned(config, 40)
    put_back(copy, where)
    with closing(open_configured_log(config)) as log:
        log.append(TOPIC, messages(events(appended), 1))

    (told,) = other_logs(config)

    assert told.startswith(
        f"model 'm': {TOPIC}/0 has other records from offset 10 on in sqlite:{where}, and the state has read up to 49: "
        "an older copy of the log?"
    )
    assert "learning goes on at offset 10" in told
    learned(config, 1)
    assert list(other_logs(config)) == []


def test_a_copy_that_was_made_after_the_newest_snapshot_is_told_by_the_journal(tmp_path: Path) -> None:
    where, copy = tmp_path / "log.db", tmp_path / "copy.db"
    config = configuration(tmp_path, f"sqlite:{where}", str(tmp_path / "state"))
    learned(config, 10)
    with closing(open_configured_log(config)) as log:
        log.append(TOPIC, messages(events(10), 1))
    copied(where, copy)
    learned(config, 20)
    killed(config)
    assert list(other_logs(config)) == []  # the log has all that the journal has
    put_back(copy, where)

    (told,) = other_logs(config)

    assert told.startswith(
        f"model 'm': {TOPIC}/0 ends before offset 20 in sqlite:{where}, and the state has read up to 39 since its "
        "newest snapshot: an older copy of the log?"
    )
    assert "learning goes on at offset 10" in told
    with closing(open_configured_log(config)) as log:
        (model,) = config.model
        folder = Path(config.service.state_dir) / "m"
        journal = FileJournal(folder / "journal")
        settings, snapshots = settings_of(model, 1 << 20), FolderSnapshots(folder)
        again = Processor(new_learner(model), log, snapshots, settings, journal=journal, ports=Ports())
        with capture_logs() as lines:
            again.run(until_end=True)
        assert [one["continues"] for one in lines if "continues" in one] == [{f"{TOPIC}/0": 10}]  # as it was told
        journal.close()
    assert list(other_logs(config)) == []


@pytest.mark.kafka
def test_a_topic_of_kafka_that_was_created_again_is_told(tmp_path: Path, kafka_servers: str) -> None:
    from kafka import KafkaAdminClient

    config = configuration(tmp_path, f"kafka://{kafka_servers}", str(tmp_path / "state"))
    learned(config, 40)
    assert list(other_logs(config)) == []
    with closing(KafkaAdminClient(bootstrap_servers=kafka_servers)) as admin:
        admin.delete_topics([TOPIC])
    with closing(open_configured_log(config)) as log:
        _append_once_it_is_gone(log, config)

    (told,) = other_logs(config)

    assert told.startswith(f"model 'm': its state was learned from another log's topic '{TOPIC}'")


def test_brokers_that_cannot_be_reached_say_nothing(tmp_path: Path) -> None:
    config = configuration(tmp_path, f"sqlite:{tmp_path}/log.db", str(tmp_path / "state"))
    learned(config, 40)

    assert list(other_logs(configuration(tmp_path, "kafka://127.0.0.1:1", str(tmp_path / "state")))) == []


def _append_once_it_is_gone(log: object, config: Config) -> None:
    from tests.services.processes import until
    from thalweg.stream.log.log import LogError

    before = FolderSnapshots(Path(config.service.state_dir) / "m").manifests()[-1].log_identity[TOPIC]

    def anew() -> bool:
        try:
            log.append(TOPIC, messages(events(1), 1))  # type: ignore[attr-defined]
            return log.identity(TOPIC) not in (None, before)  # type: ignore[attr-defined]
        except LogError:
            return False

    until("the topic to be another one", anew)
