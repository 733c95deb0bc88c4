"""A label that is an input, too, is no label: it is refused on the command line as it is in a configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.services import warm
from tests.services.processes import PATIENCE

CONFIGURATION = """
[service]
state_dir = "{folder}/state"
[log]
url = "sqlite:{folder}/log.db"
[[model]]
name = "m"
learner = "ridge"
topic = "m.events"
columns = {{ x = "numeric", place = {{ kind = "categorical", field = "site" }} }}
fields.label = "y"
"""


@pytest.mark.parametrize("command", ["replay", "produce"])
def test_a_label_that_is_a_column_is_refused_and_one_that_is_none_is_taken(tmp_path: Path, command: str) -> None:
    path, rows = tmp_path / "m.toml", tmp_path / "rows.csv"
    path.write_text(CONFIGURATION.format(folder=tmp_path))
    rows.write_text("x,site,y,place\n" + "".join(f"{row},{'ab'[row % 2]},{'uv'[row % 2]},s\n" for row in range(20)))
    of = {"replay": ["--model", "m"], "produce": ["--topic", "m.events"]}[command]

    def ran(label: str) -> tuple[int, str]:
        done = warm.run(command, str(path), *of, "--input", str(rows), "--label", label, timeout=PATIENCE)
        return done.returncode, done.stdout + done.stderr

    code, said = ran("site")
    assert code in (1, 2)
    assert "--label site: it is column 'place'" in said
    assert "nothing is left to predict" in said
    assert ran("y")[0] == ran("place")[0] == 0
