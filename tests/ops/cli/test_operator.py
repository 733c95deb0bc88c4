"""`thalweg resume` and `snapshot rollback` reach a model that its circuit breaker has stopped."""

from __future__ import annotations

import json
import os
import re
import threading
from pathlib import Path

import pytest

from tests.ops.cli.test_snapshot import configured
from tests.services.processes import until
from thalweg.memory.audit import os_user
from thalweg.memory.exchange.open import open_commands
from thalweg.models.contract.learner import Learner
from thalweg.models.encoders.encoded import make_learner
from thalweg.ops.cli import operator
from thalweg.ops.config.config import load
from thalweg.ops.run.app import LearnerReports, build_processor, open_configured_log
from thalweg.ops.run.failed import Failed
from thalweg.ops.serve.errors import DeadlineExceeded
from thalweg.ops.telemetry.learner_metrics import LearnerMetrics
from thalweg.ops.telemetry.status import LearnerStatus
from thalweg.proto.event import Batch
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.log.dead_letters import DeadLetters
from thalweg.stream.log.log import Message


class Fragile:
    """A plug-in around a built-in learner: it cannot learn events whose first input is negative."""

    def __init__(self, inner: Learner) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def learn(self, batch: Batch) -> None:
        if (batch.inputs["x"][:, 0] < 0).any():
            raise ValueError("negative")
        self._inner.learn(batch)


def test_an_operator_reaches_a_stopped_model_and_lets_it_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("thalweg.ops.run.app.make_learner", lambda *arguments: Fragile(make_learner(*arguments)))
    one_block = (
        "batch_events = 70\nbatch_seconds = 10\n"  # on a busy machine it would end sooner, and there were several
    )
    config = load(configured(tmp_path, None, one_block), {})
    (model,) = config.model
    log = open_configured_log(config)
    x = [*range(30), *(-i for i in range(1, 31)), *range(30, 40)]
    log.append("m.events", [Message(f'{{"inputs":{{"x":[{i},1]}},"label":"{i % 2}"}}'.encode()) for i in x])
    metrics, store = LearnerMetrics(), open_commands(config.store.url)
    reports, health = LearnerReports(metrics, LearnerStatus(tmp_path)), HealthRegistry()
    processor, publisher = build_processor(config, model, log, store, tmp_path, reports, health)
    thread = threading.Thread(target=processor.run, daemon=True)
    thread.start()
    until("the model stands still", lambda: processor.stopped_by)

    with pytest.raises(Failed, match=r"m: version 0 has learned nothing, and the model answers after 1: .* --force$"):
        operator.rollback(config, "m", 0)
    operator.rollback(config, "m", 0, force=True)
    assert "the state is that of version 0 again" in capsys.readouterr().out
    (entry,) = map(json.loads, (Path(config.service.state_dir) / "audit.jsonl").read_text().splitlines())
    assert (entry["action"], entry["subject"], entry["arguments"]) == ("rollback", "m", {"version": 0})
    assert (entry["by"], entry["by_kind"], entry["outcome"]) == (*os_user(), "done")
    assert processor.stopped_by is not None
    what = (
        "10 of the newest 70 events could not be learned, more than 10 % (30 more were not tried): ValueError: negative"
    )
    with pytest.raises(Failed, match=re.escape(what)):
        operator.resume(config, "m", skip=False)  # the records are read again
    operator.resume(config, "m", skip=True)
    told = capsys.readouterr().out
    assert "m: tries to go on after version" in told
    assert "without what fails there" in told
    assert "m: goes on, now at version" in told
    until("it went on", lambda: sum(processor.position.values()) == len(x) - 1)
    with pytest.raises(Failed, match="is not stopped"):
        operator.resume(config, "m", skip=False)
    processor.stop()
    thread.join()
    publisher.close()
    store.close()

    assert processor.stopped_by is None
    assert processor.events_learned == 40
    reasons = {letter.reason for letter in DeadLetters(log, "m.events", "m").newest(99)}
    assert reasons == {"learner_error"}
    page = metrics.render().decode()
    assert 'thalweg_quarantined_events_total{model_name="m",reason="learner_error"} 30.0' in page
    assert not (tmp_path / "state" / "m" / "stopped.json").exists()
    log.close()


def test_without_a_service_nobody_is_waited_for_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load(configured(tmp_path, None), {})
    waited: list[float] = []

    def nobody(store: object, name: str, verb: str, patience_seconds: float, **arguments: object) -> None:
        waited.append(patience_seconds)
        raise DeadlineExceeded("its learner did not answer")

    monkeypatch.setattr(operator, "run_command", nobody)
    state = Path(config.service.state_dir)
    live = state / "live"
    with pytest.raises(operator.NoAnswer, match="there is no such folder; was it moved away, or removed"):
        operator.rollback(config, "m", 0)
    assert not state.exists()  # what is moved back would be moved into one that was made
    state.mkdir()
    with pytest.raises(operator.NoAnswer, match="no service is running"):
        operator.rollback(config, "m", 0)
    live.mkdir()
    (live / "status-learner.json").write_text("{}")
    with pytest.raises(operator.NoAnswer, match=r"^its learner"):
        operator.rollback(config, "m", 0)
    os.utime(live / "status-learner.json", (1.7e9, 1.7e9))
    with pytest.raises(operator.NoAnswer, match="no service is running"):
        operator.rollback(config, "m", 0)

    assert waited == [3.0, 30.0, 3.0]


def test_a_service_in_a_container_is_not_said_to_be_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load(configured(tmp_path, None), {})
    waited: list[float] = []

    def nobody(store: object, name: str, verb: str, patience_seconds: float, **arguments: object) -> None:
        waited.append(patience_seconds)
        raise DeadlineExceeded("its learner did not answer")

    monkeypatch.setattr(operator, "run_command", nobody)
    (tmp_path / "state").mkdir(exist_ok=True)
    (tmp_path / "state" / "live").symlink_to("/dev/shm/thalweg-of-a-container")

    with pytest.raises(operator.NoAnswer, match=r"^its learner did not answer; /dev/shm/.* run this command there"):
        operator.rollback(config, "m", 0)

    assert waited == [30.0]  # its files may be shared: then it answers
