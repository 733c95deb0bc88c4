"""A model whose owner changes while it is being built."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.ops.run.test_learning import learning
from tests.ops.run.test_object_store import host, uploaded
from tests.samples import events
from tests.services.processes import until
from thalweg.memory.objects.objects import Objects
from thalweg.memory.snapshots.remote import RemoteSnapshots
from thalweg.ops.cli.produce import messages
from thalweg.ops.run.learners import one_model
from thalweg.stream.learn.saving.mirror import Mirror
from thalweg.stream.log.in_memory import InMemoryLog


def test_who_is_superseded_before_it_has_begun_to_learn_learns_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, log = f"file:{tmp_path / 'objects'}", InMemoryLog()
    log.append("t", messages(events(50), 1))
    config = host(tmp_path, "first", url)
    with learning(config, log):
        until("the state to be uploaded", lambda: uploaded(url) == 50)
    log.append("t", messages(events(20, 50), 1))
    build, upload, told = one_model.build_processor, Mirror.run, threading.Event()

    def slow(*given: Any) -> Any:
        RemoteSnapshots(Objects(url), "a").claim("another host")
        assert told.wait(60)
        return build(*given)

    def watched(self: Mirror) -> None:
        upload(self)
        told.set()

    monkeypatch.setattr(one_model, "build_processor", slow)
    monkeypatch.setattr(Mirror, "run", watched)
    with learning(config, log) as (running, _):
        until("it to end", lambda: "is owned by another host now" in str(running.refused), 60)

    assert uploaded(url) == 50
