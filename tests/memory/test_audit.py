"""The audit log: whole lines, in order, whoever writes; bounded; and an action is never undone for its sake."""

from __future__ import annotations

import json
import resource
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from thalweg.memory import audit
from thalweg.memory.audit import Actor, audit_log, os_user

ADA = Actor("ada", "token")


def entries(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]


def test_an_entry_says_who_did_what_to_what_when_and_what_came_of_it(tmp_path: Path) -> None:
    log = audit.AuditLog(tmp_path / "audit.jsonl", lambda: 1_700_000_000.25)
    with capture_logs() as lines:
        log.record("rollback", ADA, "done", subject="m", arguments={"version": 3}, detail="version 9")

    (entry,) = entries(tmp_path)
    assert entry.pop("pid") > 0
    assert entry == {
        "time": "2023-11-14T22:13:20.250+00:00",
        "action": "rollback",
        "subject": "m",
        "by": "ada",
        "by_kind": "token",
        "outcome": "done",
        "arguments": {"version": 3},
        "detail": "version 9",
    }
    assert [(line["event"], line["action"], line["by"], line["version"]) for line in lines] == [
        ("audit", "rollback", "ada", 3)
    ]


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    audit_log(tmp_path).record("snapshot", ADA, "done")

    assert stat.S_IMODE((tmp_path / "audit.jsonl").stat().st_mode) == 0o600


def test_who_writes_at_the_same_time_writes_whole_lines(tmp_path: Path) -> None:
    def write(number: int) -> None:
        own = audit_log(tmp_path)  # as another process has
        for _ in range(25):
            own.record("snapshot", Actor(f"t{number}", "token"), "done", detail="x" * 400)

    threads = [threading.Thread(target=write, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(entries(tmp_path)) == 100


def test_what_callers_say_is_bounded_and_stays_on_its_line(tmp_path: Path) -> None:
    said = 500 * '"}\n{"action": "promote"'
    audit_log(tmp_path).record("snapshot", Actor("x" * 10_000, "token"), "failed", detail=said)

    (entry,) = entries(tmp_path)
    assert len(entry["by"]) == len(entry["detail"]) == 500


def test_a_large_file_is_kept_under_a_number_and_the_oldest_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MOST_BYTES", 1000)
    log = audit_log(tmp_path)
    for number in range(60):
        log.record("snapshot", ADA, "done", detail=str(number))

    names = sorted(path.name for path in tmp_path.glob("audit*.jsonl"))
    assert names == ["audit.1.jsonl", "audit.2.jsonl", "audit.3.jsonl", "audit.4.jsonl", "audit.jsonl"]
    kept = [
        int(json.loads(line)["detail"])
        for name in (*names[3::-1], names[4])
        for line in (tmp_path / name).read_text().splitlines()
    ]
    assert kept == list(range(kept[0], 60))
    assert all((tmp_path / name).stat().st_size <= 1000 for name in names)


def test_where_it_cannot_be_written_that_is_said_with_what_it_was_and_nothing_raises(tmp_path: Path) -> None:
    with capture_logs() as lines:
        audit_log(tmp_path / "none", told=False).record("resume", ADA, "done", subject="m")

    assert [(line["log_level"], line["action"], line["subject"]) for line in lines] == [("error", "resume", "m")]
    assert not (tmp_path / "none").exists()


def test_a_line_that_a_full_disk_cuts_is_taken_back_and_the_next_one_is_whole(tmp_path: Path) -> None:
    log = audit_log(tmp_path, told=False)
    log.record("snapshot", ADA, "done", detail="before")
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "audit.jsonl").stat().st_size + 20, usual[1]))
    try:
        with capture_logs() as lines:
            log.record("snapshot", ADA, "done", detail="lost")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    log.record("snapshot", ADA, "done", detail="after")

    assert [line["event"] for line in lines] == ["the audit log cannot be written"]
    assert [entry["detail"] for entry in entries(tmp_path)] == ["before", "after"]


def test_a_command_is_by_the_user_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    plain = os_user()
    monkeypatch.setenv("SUDO_USER", "grace")

    assert plain.kind == "os_user"
    assert plain.name
    assert os_user().name == f"{plain.name} (sudo by grace)"
