"""The file of a configuration in any form that editors write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from thalweg.ops.config.config import load
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.config.files.reading import read_table
from thalweg.ops.run.learners.shares import several
from thalweg.ops.run.standby import wanted

TEXT = """# Zähler
[service]
standby = false
learners = 2
[[model]]
name = "pay"
learner = "ridge"
topic = "t"
[model.columns]
"größe" = "numeric"
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_is_read_as_its_byte_order_mark_says_whoever_reads_it(tmp_path: Path, encoding: str, end: str) -> None:
    path = tmp_path / "thalweg.toml"
    path.write_bytes(TEXT.replace("\n", end).encode(encoding))

    assert list(load(path, {}).model[0].columns) == ["größe"]
    assert several(path, {})
    assert not wanted(path, {})


def test_what_is_not_utf_8_is_told_with_its_line_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "thalweg.toml"
    path.write_bytes(TEXT.encode("latin-1"))

    with pytest.raises(ConfigurationError, match=r"thalweg\.toml: expected UTF-8.*byte 0xe4 in line 1: save the file"):
        load(path, {})


def test_a_file_is_read_alike_whatever_the_locale_is(tmp_path: Path) -> None:
    path = tmp_path / "thalweg.toml"
    path.write_text(TEXT, encoding="utf-8")
    here = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
    code = (
        "import sys, pathlib; from thalweg.ops.config.files.reading import read_table\n"
        "print(ascii(read_table(pathlib.Path(sys.argv[1]))))"
    )

    said = subprocess.run([sys.executable, "-c", code, path], env=here, check=True, capture_output=True, text=True)

    assert said.stdout.strip() == ascii(read_table(path))
