"""What stands in the documentation is true: code runs, configurations are accepted, links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from thalweg.ops.config.config import load
from thalweg.ops.dev.configuration_table import parameter_tables, tables

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
CODE = [
    pytest.param(block, id=f"{path.relative_to(ROOT)}:{number}")
    for path in DOCUMENTS
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL))
    if "tritonclient" not in block  # tests/ops/serve/test_tritonclient.py runs it, in a process of its own
]


@pytest.mark.parametrize("block", CODE)
def test_code_in_the_documentation_runs(block: str) -> None:
    exec(compile(block, "documentation", "exec"), {"__name__": "documentation"})


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*.toml")), ids=lambda path: path.name)
def test_the_example_configurations_are_accepted(path: Path) -> None:
    assert load(path, {}).model


@pytest.mark.parametrize(("page", "made"), [("configuration", tables), ("parameters", parameter_tables)])
def test_the_tables_of_keys_are_those_of_the_code(page: str, made: Callable[[], str]) -> None:
    assert made() in (ROOT / "docs" / f"{page}.md").read_text(), "see ops/dev/configuration_table.py"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
        assert "://" in target or (path.parent / target).exists(), f"{path}: {target}"
