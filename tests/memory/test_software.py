"""Thalweg runs from its source too, where the metadata of an installation is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import thalweg
from thalweg.memory.software import version_of

ROOT = Path(__file__).parents[2]


def test_an_installed_package_has_the_version_of_its_metadata() -> None:
    assert version_of("numpy") == version("numpy")
    assert version_of("scikit-learn", "sklearn") == version("scikit-learn")


def test_without_metadata_a_version_is_what_the_module_says_or_unknown(tmp_path: Path) -> None:
    (tmp_path / "said.py").write_text('__version__ = "3.1"\n')
    (tmp_path / "silent.py").write_text("")
    code = (
        "from importlib.metadata import PackageNotFoundError\n"
        "from thalweg.memory import software\n"
        "from thalweg.memory.snapshots.snapshots import software as of_states\n"
        "def none(name): raise PackageNotFoundError(name)\n"
        "software.version = none\n"
        "print(software.version_of('anything', 'said'), software.version_of('silent'), dict(of_states()))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}

    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith("3.1 unknown {")
    assert f"'thalweg': '{thalweg.__version__}'" in done.stdout


def test_nothing_else_asks_for_the_metadata_of_a_version() -> None:
    asking = re.compile(r"importlib\.metadata\.version|from importlib\.metadata import [^\n]*\bversion\b")
    found = [
        str(path.relative_to(ROOT))
        for folder in ("proto", "memory", "models", "stream", "ops")
        for path in (ROOT / folder).rglob("*.py")
        if asking.search(path.read_text())
    ]

    assert found == ["memory/software.py"]
