"""What stands in the documentation is true: code runs, configurations are accepted, links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from benchmarks.__main__ import NAMES
from thalweg.ops.cli.main import app
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


def commands(command: Any, name: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], set[str]]]:
    """Each command, and its options but for those that all have."""
    for part, inside in getattr(command, "commands", {}).items():
        yield from commands(inside, (*name, part))
    if not hasattr(command, "commands"):
        shown = [one for one in command.params if not getattr(one, "hidden", False)]
        options = {option for one in shown for option in one.opts if option.startswith("--")}
        yield name, options - {"--help", "--log-format"}


COMMANDS = [*commands(get_command(app))]


@pytest.mark.parametrize(("name", "options"), COMMANDS, ids=[" ".join(name) for name, _ in COMMANDS])
def test_the_table_of_commands_has_every_option(name: tuple[str, ...], options: set[str]) -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    rows = [row.split(" | ")[0] for row in page.splitlines() if re.match(rf"\| `thalweg {name[0]}\b", row)]

    known = set(re.findall(r"--[a-z-]+", " ".join(rows)))

    assert rows, name
    assert options - known == set()
    if len(name) == 1:
        assert known - options == set()


COMMAND = re.compile(r"python -m benchmarks(?:\.| --\w+ | )(\w+)")
MADE_BY = re.compile(r"python -m benchmarks|thalweg replay|make demo|tests/\w")
"""What makes the figures of a table: a command, or a test."""
MEASURED = re.compile(r"^#+ .*(Measured|Cost|costs|Missed|Peers|Towards|`python -m benchmarks)", re.IGNORECASE)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_benchmark_that_is_named_exists(path: Path) -> None:
    for name in COMMAND.findall(path.read_text()):
        assert name in {*NAMES, "NAME", "compare", "small_cnn"}, f"{path}: python -m benchmarks {name}"


def sections(path: Path) -> list[tuple[str, list[str], bool]]:
    """Heading, the texts of the section and of those that it stands in, and whether it has a table of its own."""
    above: list[tuple[int, str]] = []
    found = []
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    for part in re.split(r"^(?=#+ )", text, flags=re.MULTILINE):
        heading = part.partition("\n")[0]
        depth = len(heading) - len(heading.lstrip("#"))
        above = [*((level, each) for level, each in above if level < depth), (depth, part)]
        found.append((heading, [each for _, each in above], "\n|---" in part))
    return found


MEASURING = [ROOT / "docs" / "benchmarks.md", *sorted((ROOT / "docs" / "learners").glob("*.md"))]


@pytest.mark.parametrize("path", MEASURING, ids=lambda path: path.name)
def test_every_table_of_figures_has_a_command_that_makes_it(path: Path) -> None:
    for heading, texts, table in sections(path):
        if table and any(MEASURED.match(text) for text in texts):
            assert any(MADE_BY.search(text) for text in texts[1:]), (
                f"{path.name}, {heading}: no command makes its table"
            )


def test_every_table_of_the_benchmarks_stands_under_its_command() -> None:
    for heading, _, table in sections(ROOT / "docs" / "benchmarks.md"):
        named = COMMAND.search(heading)
        assert not table or named or heading.startswith("## Missed"), heading
