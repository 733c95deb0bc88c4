"""What `thalweg predict` reads on standard input."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.services import warm
from tests.services.processes import PATIENCE
from thalweg.ops.cli import predict
from thalweg.ops.run.failed import Failed

PYTHONPATH = os.pathsep.join(path for path in sys.path if path)


def test_it_is_utf_8_with_or_without_a_byte_order_mark() -> None:
    row = '{"city": "Zürich"}'

    assert predict.text_of(row.encode()) == predict.text_of(row.encode("utf-8-sig")) == row


def test_what_is_no_utf_8_is_told_with_its_line() -> None:
    with pytest.raises(Failed, match="standard input: expected UTF-8, as JSON is, got byte 0xfc in line 2"):
        predict.text_of(b'{"city": "Bern"}\n{"city": "Z\xfcrich"}')


def test_a_text_with_a_line_separator_of_unicode_is_on_one_line() -> None:
    assert predict._rows('{"a": "x\u2028y"}\n{"a": "z\x85"}\r\n') == ([{"a": "x\u2028y"}, {"a": "z\x85"}], True)


@pytest.mark.slow
def test_it_is_read_so_whatever_the_locale_is() -> None:
    here = {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0", "PYTHONPATH": PYTHONPATH}
    command = [*warm.COMMAND, "predict", "--target", "127.0.0.1:9", "--model", "m"]

    done = subprocess.run(command, env=here, input=b'{"city": "Z\xfcrich"}', capture_output=True, timeout=PATIENCE)

    assert done.returncode == 1
    assert "expected UTF-8" in done.stderr.decode()
