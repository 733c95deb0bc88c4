"""With logs in JSON every line is JSON, whoever writes it."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import gc, logging, threading, warnings
from thalweg.ops.run import logs
logs.configure("json", role="learner")
warnings.warn("a warning")
logging.getLogger("kafka").error("a line of %s", "a library")
logging.getLogger("kafka").info("what nobody wants to know")
thread = threading.Thread(target=lambda: 1 / 0, name="part")
thread.start()
thread.join()
class Last:
    def __del__(self): raise LookupError("ignored")
Last()
def deep(n): return deep(n - 1) if n else [][0]
deep(100)
"""


def test_what_python_and_libraries_print_and_how_a_process_dies_are_lines_of_json() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stdout == ""
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["level"], line["event"].partition(":")[0].partition(" <")[0]) for line in lines] == [
        ("warning", "a warning"),
        ("error", "a line of a library"),
        ("error", "a thread ended by an error"),
        ("error", "an error that nobody can catch"),
        ("critical", "the process ends by an error"),
    ]
    assert all(line["role"] == "learner" for line in lines[:2] + lines[4:])
    assert [line["exception"][0]["exc_type"] for line in lines[2:]] == [
        "ZeroDivisionError",
        "LookupError",
        "IndexError",
    ]
