"""`make gpu` where there is no GPU: it says so, and what stands in for one shows that its stages run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.stand_in import STAND_IN
from tests.memory.devices.gpus import pretend

ROOT = Path(__file__).parents[2]


def test_without_a_gpu_it_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(monkeypatch, 0)
    monkeypatch.delenv(STAND_IN, raising=False)

    assert gpu.main([]) == 1

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("make gpu: 'cuda' needs a GPU and its driver; torch ")
    assert told.err.count("\n") == 1


def test_packages_that_are_missing_and_cannot_be_fetched_are_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(monkeypatch, 1)
    monkeypatch.setattr(gpu, "NEEDED", {"numpy": "numpy", "is_not_there": "is-not-there"})
    monkeypatch.setattr(sys, "executable", "/bin/false")  # the installer fails

    assert gpu.main([]) == 1

    told = capsys.readouterr().err
    assert told.startswith(
        "make gpu: packages are missing and cannot be fetched: is-not-there; without a network, bring"
    )
    assert told.count("\n") == 1


def test_its_stages_take_less_than_eight_minutes_together() -> None:
    assert sum(gpu.STAGES.values()) < 480


@pytest.mark.parametrize(("does", "told"), [("sleep 600", "not finished after 0 s"), ("exit 3", "FAILED, exit code 3")])
def test_a_stage_that_hangs_or_fails_costs_itself(
    does: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{does}\n")
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))

    assert gpu.run("recovery", 0.2 if "sleep" in does else 60.0) == 1

    assert told in capfd.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["recovery", "search", "answers"])
def test_a_stage_runs_on_what_stands_in_for_a_gpu(stage: str) -> None:
    environment = {
        **os.environ,
        STAND_IN: "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-m", "benchmarks.gpu", stage]

    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(table) >= 5
    assert len({line.count("|") for line in table}) == 1
    assert "NO" not in done.stdout
