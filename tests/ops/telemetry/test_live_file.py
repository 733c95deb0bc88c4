"""A file that others read: whole or not at all, and a page that cannot be made does not end the next ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.services.processes import until
from thalweg.ops.telemetry import live_file
from thalweg.ops.telemetry.live_file import LiveFile


def test_after_a_page_that_could_not_be_made_the_next_ones_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_file, "REFRESH_SECONDS", 0.01)
    made = 0

    def page() -> bytes:
        nonlocal made
        made += 1
        if made == 1:
            raise RuntimeError("dictionary changed size during iteration")
        return b"page"

    file = LiveFile(tmp_path / "status", page)
    file.start()
    until("the second page", (tmp_path / "status").exists)
    file.close()

    assert (tmp_path / "status").read_bytes() == b"page"
    assert [path.name for path in tmp_path.iterdir()] == ["status"]
