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
    and path.parent.name != "tutorials"  # tests/test_tutorials.py follows them, file by file and command by command
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


def headings(path: Path) -> set[str]:
    """The anchors of a document, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_to_a_heading_lead_to_one(path: Path) -> None:
    for file, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", path.read_text()):
        target = path.parent / file if file else path
        assert target.suffix != ".md" or anchor in headings(target), f"{path}: {file}#{anchor}"


def test_decision_records_are_numbered_without_gaps() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))

    assert [record.name[:4] for record in records] == [f"{number:04}" for number in range(1, len(records) + 1)]
    for number, record in enumerate(records, 1):
        assert record.read_text().startswith(f"# {number}. "), record.name
