"""Commands are recorded with their senders and with what came of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thalweg.memory.audit import Actor, audit_log
from thalweg.memory.exchange import commands
from thalweg.memory.exchange.audited import AuditedCommands
from thalweg.memory.exchange.commands import InMemoryCommandQueue, StoreError


class Sender:
    """Sends commands, and answers them as a learner would."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.inner, self.name = folder, InMemoryCommandQueue(), "ada"
        self.queue = AuditedCommands(self.inner, audit_log(folder), lambda: Actor(self.name, "token"))

    def send(self, verb: str, result: dict[str, Any] | None, **arguments: Any) -> None:
        id = self.queue.submit("m", verb, arguments)
        self.name = "somebody else, meanwhile"
        if result is not None:
            (command,) = self.inner.poll("m")
            self.inner.respond(command.id, result)
        assert self.queue.response(id, 0.0) == result
        self.name = "ada"

    @property
    def entries(self) -> list[tuple[str, str, str, str]]:
        path = self.folder / "audit.jsonl"
        found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [(one["action"], one["by"], one["outcome"], one["detail"]) for one in found]


@pytest.fixture
def sender(tmp_path: Path) -> Sender:
    return Sender(tmp_path)


def test_what_came_of_a_command_is_recorded_with_who_sent_it(sender: Sender) -> None:
    sender.send("rollback", {"version": 7}, version=3)
    sender.send("snapshot", {"error": "unavailable", "message": "the disk is full"})
    sender.send("resume", None)

    assert sender.entries == [
        ("rollback", "ada", "done", "version 7"),
        ("snapshot", "ada", "failed", "the disk is full"),
        ("resume", "ada", "unanswered", "its learner did not answer in time"),
    ]


def test_a_look_at_a_model_is_no_action(sender: Sender) -> None:
    sender.send("standstill", {"version": 1, "reason": ""})

    assert not sender.entries


def test_a_command_that_the_store_refuses_has_failed(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "MOST_COMMANDS", 0)

    with pytest.raises(StoreError):
        sender.queue.submit("m", "snapshot", {})

    assert [entry[:3] for entry in sender.entries] == [("snapshot", "ada", "failed")]
