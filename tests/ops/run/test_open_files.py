"""How many files a process may open."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.ops.run.shards.test_shards import Host, host
from tests.services.processes import until
from tests.stream.log.partitions import PartitionedLog
from thalweg.ops.run.resources.open_files import OpenFiles

LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, int(sys.argv.pop(1))))
runpy.run_module("thalweg.ops.cli", run_name="__main__")
"""


def test_a_process_that_serves_may_open_as_many_files_as_the_host_allows(tmp_path: Path) -> None:
    config = tmp_path / "thalweg.toml"
    config.write_text(
        f'[service]\nstate_dir = "{tmp_path}/state"\n[log]\nurl = "sqlite:{tmp_path}/log.db"\n'
        f'[[model]]\nname = "m"\nlearner = "ridge"\ntopic = "t"\ninputs.features = {{ shape = [2] }}\n'
    )
    with (tmp_path / "log").open("wb") as output:
        command = [sys.executable, "-c", LIMITED, "3000", "serve", str(config), "--role", "learn"]
        with subprocess.Popen(command, stdout=output, stderr=output) as process:
            try:
                limits = Path(f"/proc/{process.pid}/limits")
                until(
                    "the limit to be raised",
                    lambda: any(
                        line.split()[3:5] == ["3000", "3000"]
                        for line in limits.read_text().splitlines()
                        if line.startswith("Max open files")
                    ),
                )
            finally:
                process.kill()


def test_it_is_told_before_there_are_none_left_and_no_more_once_there_are() -> None:
    now, found = 0.0, [(700, 1000)]
    files = OpenFiles(lambda: found[-1], lambda: now)
    assert files.nearly_out(80) == ""
    found.append((850, 1000))
    assert files.nearly_out(80) == ""  # not looked at so soon again
    now = 10.0
    assert files.nearly_out(80).startswith("850 of the 1000 files that this process may open are open, with 80 shards")
    now = 20.0
    found.append((850, 65536))
    assert files.nearly_out(80) == ""
    now = 30.0
    found.append((850, 0))
    assert files.nearly_out(80) == ""


def test_a_learner_of_many_shards_tells_it_in_its_health(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenFiles, "nearly_out", lambda self, shards: f"{shards} shards are too many" * (shards > 1))
    log = PartitionedLog(1)
    with host(tmp_path, "first", log) as first:
        until("one shard", lambda: first.owned() == {0})
        log.add(1)
        until("it to tell", lambda: state(first) == ("degraded", "2 shards are too many"))


def state(one: Host) -> tuple[str, str]:
    health = one.health("clicks")
    return ("", "") if health is None else (health.state, health.reason)


def test_this_process_is_told_of() -> None:
    assert OpenFiles().nearly_out(0) == ""
