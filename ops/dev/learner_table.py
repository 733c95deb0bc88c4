"""Writes the tables of built-in learners in README.md and docs/learners/README.md from the registry.

python -m thalweg.ops.dev.learner_table
"""

from __future__ import annotations

from itertools import dropwhile
from pathlib import Path

from thalweg.models.contract.registry import BUILT_IN, PREFIXES

ROOT = Path(__file__).resolve().parents[2]
PAGES = {ROOT / "README.md": "docs/learners/", ROOT / "docs" / "learners" / "README.md": ""}
"""Pages with a table, and where the learners' own pages are from there."""
_HEAD = "| learner | for |\n|---|---|\n"


def table(folder: str) -> str:
    """One row for each learner, by name, with a link to its page in a folder, and one for each prefix."""
    rows = [f"| [`{name}`]({folder}{name}.md) | {BUILT_IN[name].summary} |\n" for name in sorted(BUILT_IN)]
    rows += [f"| [`{one}:IMPORT.PATH`]({folder}adapters.md) | {PREFIXES[one].summary} |\n" for one in sorted(PREFIXES)]
    return _HEAD + "".join(rows)


def written(text: str, folder: str) -> str:
    """A page with the table it should have, in place of the one it has.

    Raises:
        ValueError: It has none.
    """
    before, head, rest = text.partition(_HEAD)
    if not head:
        raise ValueError(f"there is no table to replace: expected the lines {_HEAD!r}")
    after = dropwhile(lambda line: line.startswith("|"), rest.splitlines(keepends=True))
    return before + table(folder) + "".join(after)


if __name__ == "__main__":
    for page, folder in PAGES.items():
        page.write_text(written(page.read_text(encoding="utf-8"), folder), encoding="utf-8")
