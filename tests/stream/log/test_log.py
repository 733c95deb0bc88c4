"""The log in memory, and the choice of a log by URL."""

from pathlib import Path

import pytest

from tests.stream.log.battery import LogBattery
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Log, LogError
from thalweg.stream.log.open import open_log
from thalweg.stream.log.sqlite import SqliteLog


class TestMemoryLog(LogBattery):
    @pytest.fixture
    def log(self) -> Log:
        return InMemoryLog()


def test_a_url_chooses_the_log(tmp_path: Path) -> None:
    assert isinstance(open_log("memory:"), InMemoryLog)
    log = open_log(f"sqlite:{tmp_path / 'new' / 'log.db'}")
    assert isinstance(log, SqliteLog)
    log.close()
    assert (tmp_path / "new" / "log.db").exists()


@pytest.mark.parametrize("url", ["", "sqlite:", "redis://x", "kafka:x"])
def test_another_url_is_refused_with_the_forms_there_are(url: str) -> None:
    with pytest.raises(LogError, match=r"expected memory:, sqlite:PATH or kafka://"):
        open_log(url)
