"""File systems that lack something: locks, hard links, symbolic links, flushing of folders (NFS, SMB, exFAT, FUSE)."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from thalweg.memory.audit import Actor, audit_log
from thalweg.memory.files import sync_folder
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.run.only_one import only_one
from thalweg.ops.serve.access.audit_health import tell_health
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.publication.live_folder import live_folder

ME = Actor("me", "os_user")


def no_locks(*_: object) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def of_folders(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Flushing a folder fails with this."""
    real = os.fsync

    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(code, os.strerror(code))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)


def test_without_locks_a_state_folder_is_refused_by_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", no_locks)

    with (
        pytest.raises(ConfigurationError, match=r"file system without locks \(flock: .*local disk"),
        only_one(tmp_path, "learner", 30.0),
    ):
        pass


def test_without_locks_actions_are_recorded_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", no_locks)

    audit_log(tmp_path).record("rollback", ME, "done", subject="m")

    assert json.loads((tmp_path / "audit.jsonl").read_text())["action"] == "rollback"


def test_where_folders_cannot_be_flushed_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_folders(monkeypatch, errno.EINVAL)

    sync_folder(tmp_path)
    audit_log(tmp_path).record("rollback", ME, "done", subject="m")

    assert (tmp_path / "audit.jsonl").stat().st_size > 0


def test_a_folder_whose_disk_fails_is_an_error_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_folders(monkeypatch, errno.EIO)

    with pytest.raises(OSError, match="Input/output"):
        sync_folder(tmp_path)


def test_without_links_versions_are_published_on_the_disk_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(os, "symlink", refused)
    state = tmp_path / "state"

    live = live_folder(state)

    assert live == state / "live"
    assert live.is_dir()
    assert not live.is_symlink()
    assert live_folder(state) == live  # of the next process


def test_an_audit_log_that_cannot_be_written_shows_in_health_until_it_can(tmp_path: Path) -> None:
    registry, audit, refused = HealthRegistry(), audit_log(tmp_path / "state"), audit_log(tmp_path)
    tell_health(registry, audit, refused)

    def told() -> Any:
        (found,) = registry.report()
        return found

    assert (told().component, told().state) == ("audit_log", "running")
    audit.record("rollback", ME, "done")  # there is no folder
    audit.record("rollback", ME, "done")
    refused.record("refused", ME, "refused")  # the other one is no reason to be well
    assert told().state == "degraded"
    assert f"{tmp_path}/state/audit.jsonl cannot be written" in told().reason
    assert "2 actions are in the log stream alone" in told().reason

    (tmp_path / "state").mkdir()
    audit.record("rollback", ME, "done")

    assert told().state == "running"
