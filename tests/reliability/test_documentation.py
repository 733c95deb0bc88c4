"""The table of faults names tests that there are, and every test of this folder."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text()
NAMED = re.findall(r"\]\(\.\./(tests/[\w/]+\.py)\): ((?:`test_\w+`(?:, )?)+)", PAGE)


def named_in(path: Path) -> set[str]:
    return set(re.findall(r"^ *def (test_\w+)", path.read_text(), re.MULTILINE))


def test_every_test_that_the_table_of_faults_names_exists() -> None:
    assert len(NAMED) > 50
    for path, names in NAMED:
        missing = set(re.findall(r"test_\w+", names)) - named_in(ROOT / path)
        assert not missing, f"{path} has no {missing}"


def test_every_test_of_this_folder_stands_in_the_table_of_faults() -> None:
    named = {name for _, names in NAMED for name in re.findall(r"test_\w+", names)}
    here = {name for path in Path(__file__).parent.glob("test_*.py") for name in named_in(path)}

    assert here - named_in(Path(__file__)) <= named
