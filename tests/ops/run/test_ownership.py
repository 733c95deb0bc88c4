"""Files of another user, as after a restore: whose they are is told, and they block their own model alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from thalweg.ops.run.resources.ownership import not_ours

AS_ONE_WHO_MAY_NOT = """
import os, sys
from pathlib import Path
from thalweg.ops.config.config import load
from thalweg.ops.run.successors import with_successors
blocked = {}
given = load(Path(sys.argv[1]), {})
os.setgroups([]); os.setgid(54321); os.setuid(54321)
config = with_successors(given, record=True, blocked=blocked)
print([one.name for one in config.model])
print(*[f"{name}: {error}" for name, error in blocked.items()])
"""


@pytest.fixture
def passable() -> Iterator[Path]:
    """A folder that another user may enter; pytest's own folders are closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_model_whose_files_are_another_users_is_blocked_and_the_others_go_on(passable: Path) -> None:
    manifest = passable / "state" / "theirs" / "3" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("{}")
    config = passable / "thalweg.toml"
    models = [
        f'[[model]]\nname = "{name}"\ntopic = "t"\nlearner = "ridge"\ninputs.x = {{ shape = [1], dtype = "float32" }}\n'
        for name in ("theirs", "ours")
    ]
    config.write_text(f'[service]\nstate_dir = "{passable}/state"\n{"".join(models)}')
    manifest.chmod(0o600)

    command = [sys.executable, "-c", AS_ONE_WHO_MAY_NOT, str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)

    assert "['theirs', 'ours']" in done.stdout, done.stderr
    assert f"theirs: {manifest}: permission denied: {manifest} belongs to user root (0), and" in done.stdout
    assert "and this process runs as 54321, as after a restore by another user: chown the files" in done.stdout


def test_an_error_of_ones_own_file_is_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    own, none = PermissionError(13, "Permission denied", str(tmp_path / "a")), PermissionError("no")

    assert (not_ours(own), not_ours(none)) == (str(own), "no")
