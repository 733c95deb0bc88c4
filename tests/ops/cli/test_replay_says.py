"""What a replay prints of a stream that drifts, and of one of which nothing could be graded."""

from __future__ import annotations

import json
import random
import re
import subprocess
from pathlib import Path

import pytest

from tests.services import warm
from tests.services.processes import PATIENCE

CONFIGURATION = """
[service]
state_dir = "{folder}/state"
[[model]]
name = "m"
learner = "ridge"
topic = "m.events"
columns = {{ x = "numeric" }}
fields.label = "y"
"""


def said(folder: Path, *more: str) -> str:
    return replayed(folder, *more).stdout


def replayed(folder: Path, *more: str, scale: str = "") -> subprocess.CompletedProcess[str]:
    chance = random.Random(0)
    path, rows = folder / "m.toml", folder / "rows.csv"
    path.write_text(CONFIGURATION.format(folder=folder) + scale)
    with rows.open("w") as file:
        file.write("x,y\n")
        for row in range(3000):
            x = chance.random()
            file.write(f"{x:.3f},{'u' if (x > 0.5) == (row < 2000) else 'v'}\n")
    done = warm.run("replay", str(path), "--model", "m", "--input", str(rows), *more, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done


def test_drift_is_told_with_the_event_since_when_and_what_shows_it(tmp_path: Path) -> None:
    (since, noticed), *_ = re.findall(r"drift 1: since event ([\d,]+), noticed at event ([\d,]+) \(", said(tmp_path))

    assert 1900 < int(since.replace(",", "")) <= int(noticed.replace(",", "")) < 2300


def test_each_variant_is_told_with_its_loss_and_share(tmp_path: Path) -> None:
    tune = "[model.tune]\nparams = { forgetting = [0.99, 1.0] }\n"

    text = replayed(tmp_path, "--report", str(tmp_path / "report"), scale=tune).stdout

    rows = re.findall(r"^ *(configured|forgetting=\S+)( \*)? +(\S+) +(\S+)%", text, re.MULTILINE)
    assert {name for name, *_ in rows} == {"configured", "forgetting=0.99", "forgetting=1.0"}
    assert sum(bool(star) for _, star, _, _ in rows) == 1
    assert sum(float(share) for *_, share in rows) == pytest.approx(100, abs=0.2)
    told = json.loads((tmp_path / "report" / "report.json").read_text())["variants"]
    assert told.keys() == {name for name, *_ in rows}
    assert all(0 < one["loss"] < 1 for one in told.values())


def test_where_nothing_was_graded_it_says_so_in_place_of_an_empty_table(tmp_path: Path) -> None:
    text = said(tmp_path, "--delay", "5000")

    assert "nothing was graded" in text
    assert "metric" not in text


@pytest.mark.parametrize(
    ("scale", "told"),
    [
        ("", ""),
        ("[model.scale]\n", "and merges them: the merged model has learned the same"),
        (
            '[model.scale]\nanswers = "key"\n',
            "each of which answers for its own keys: what is replayed is another model",
        ),
    ],
)
def test_a_model_that_is_learned_by_partition_is_told_to_be_replayed_as_one(
    tmp_path: Path, scale: str, told: str
) -> None:
    done = replayed(tmp_path, "--limit", "50", scale=scale)

    one = "model 'm' has [model.scale]: all rows are replayed as one model; the service learns one model per partition"
    assert (one in done.stderr) == bool(told)
    assert told in done.stderr
    assert "[model.scale]" not in done.stdout
