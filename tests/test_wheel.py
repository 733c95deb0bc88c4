"""The wheel has every file of the packages, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.services.building import building

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
STATIC = ROOT / "ops" / "webpage" / "static"
PACKAGES = ("proto", "memory", "models", "stream", "ops")


def test_the_wheel_has_the_files_of_the_tree(tmp_path: Path) -> None:
    with building():
        shutil.rmtree(ROOT / "build", ignore_errors=True)  # what an earlier build left there goes into the wheel again
        done = subprocess.run(
            [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)],
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stdout + done.stderr

    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()

    wanted = {
        f"thalweg/{path.relative_to(ROOT)}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".proto") or path.name == "py.typed" or (path.is_file() and STATIC in path.parents)
    }
    wanted.add("thalweg/__init__.py")
    found = {name for name in names if not name.startswith("thalweg-")}
    assert {name for name in found if not name.endswith(".pyi")} == wanted
