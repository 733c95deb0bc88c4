"""Every benchmark runs: each in its tiny form, which goes through all of its code in a second or two."""

from __future__ import annotations

import importlib
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import NAMES
from benchmarks.report import Result
from benchmarks.scale import Scale

pytestmark = pytest.mark.slow

HERE = Path(__file__).parents[2] / "benchmarks"
_KAFKA = {"freshness_slo", "ingest", "relay"}


@pytest.mark.slow(5)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.kafka] if name in _KAFKA else []) for name in NAMES]
)
def test_in_its_tiny_form_a_benchmark_measures_all_that_can_be_had_here(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in _KAFKA:
        monkeypatch.setenv("THALWEG_KAFKA", request.getfixturevalue("kafka_servers"))

    results: list[Result] = importlib.import_module(f"benchmarks.{name}").run(Scale.TINY)

    measured = [result for result in results if not result.note.startswith("left out: ")]
    assert [result.name for result in measured if not math.isfinite(result.value)] == []
    if not measured:
        pytest.skip(results[0].note)


def test_every_module_that_measures_is_one_of_the_names() -> None:
    measuring = {path.stem for path in HERE.glob("*.py") if "\ndef run(scale" in path.read_text()}

    assert measuring == set(NAMES)


def test_from_the_command_line_the_figures_are_shown_and_one_that_fails_does_not_end_the_others(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--tiny", "late_labels", "codecs"]
    broken = tmp_path / "sitecustomize.py"
    broken.write_text("import sys; sys.modules['thalweg.memory.exchange.pending'] = None\n")

    paths = os.pathsep.join([str(tmp_path), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}, check=False)

    assert done.returncode == 1
    assert "1 of 2 benchmarks failed: late_labels" in done.stderr
    assert "one event by json.loads, 64 floats" in done.stdout


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    command = [sys.executable, "-m", "benchmarks", "speed"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE.parent)

    assert done.returncode == 2
    assert "no benchmark is called 'speed'; known: codecs, ingest" in done.stderr
