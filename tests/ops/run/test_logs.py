"""In the JSON form all that a process writes to standard error is lines of JSON, whatever goes wrong in it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

BEGIN = "from thalweg.ops.run import logs\nlogs.configure('json', role='learner')\n"
DEEP = """
def deep(n):
    secret = "hunter2"
    deep(n - 1) if n else {}["key"]
deep(40)
"""
THREAD = """
import threading
thread = threading.Thread(target=lambda: 1 / 0, name="worker")
thread.start()
thread.join()
"""
CAUSE = """
try:
    1 / 0
except ZeroDivisionError as error:
    raise ValueError("a\\nb\\n" * 50) from error
"""
WARNING = """
import warnings
warnings.warn("overflow\\nencountered", RuntimeWarning)
"""
LIBRARY = """
import logging
logging.getLogger("kafka").error("lost %s", "node 1")
logging.getLogger("kafka").info("no")
"""
LIBRARY_TRACEBACK = """
import logging
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("grpc").exception("call failed")
"""
FINALIZER = """
class Odd:
    def __del__(self):
        raise OSError("gone")
Odd()
"""
OURS = """
import structlog
try:
    1 / 0
except ZeroDivisionError:
    structlog.get_logger().exception("failed", given=object())
"""
OURS_IN_A_THREAD = """
import structlog, threading
thread = threading.Thread(target=lambda: structlog.get_logger().error("failed"))
thread.start()
thread.join()
"""
COMMAND = """
import sys
import thalweg.ops.config.config
from thalweg.ops.cli.main import main
def load(path):
    raise RuntimeError("a bug")
thalweg.ops.config.config.load = load
sys.argv = ["thalweg", "check", "c.toml", "--log-format", "json", "--role", "learner"]
main()
"""
WAYS = {
    "an exception that nobody catches": DEEP,
    "one of a command": COMMAND,
    "one with a cause and a text of many lines": CAUSE,
    "an exception in a thread": THREAD,
    "a warning": WARNING,
    "what a library logs": LIBRARY,
    "what a library logs with a traceback": LIBRARY_TRACEBACK,
    "what a finalizer raises": FINALIZER,
    "what our own log reports": OURS,
    "what our own log reports in a thread": OURS_IN_A_THREAD,
}


@pytest.mark.parametrize("way", WAYS)
def test_whatever_goes_wrong_is_one_line_of_json(way: str) -> None:
    done = subprocess.run([sys.executable, "-c", BEGIN + WAYS[way]], capture_output=True, text=True)

    (line,) = done.stderr.splitlines()
    said = json.loads(line)
    assert said["level"] in ("error", "warning")
    assert said["role"] == "learner"
    assert said["event"]
    assert "hunter2" not in line
    assert done.returncode == (1 if way.startswith(("an exception that", "one ")) else 0)
    if "exception" in said:
        assert said["exception"][0]["exc_type"] in (
            "KeyError",
            "ZeroDivisionError",
            "ValueError",
            "OSError",
            "RuntimeError",
        )
        assert 0 < sum(len(one["frames"]) for one in said["exception"]) <= 64


def test_told_to_stop_by_the_keyboard_it_reports_no_error() -> None:
    done = subprocess.run([sys.executable, "-c", BEGIN + "raise KeyboardInterrupt"], capture_output=True, text=True)

    assert done.stderr == ""
    assert done.returncode != 0


AGAIN = """
import logging
for node in range(1000):
    logging.getLogger("kafka").error("node %s: lost after %.1f s", node, node / 7)
    logging.getLogger("kafka").warning(f"connection <0x{node:x}> to host-a:9092 failed")
    logging.getLogger("kafka").warning("no such host: %s", "ab"[node % 2])
"""


def test_what_a_library_says_again_and_again_is_written_once_a_minute() -> None:
    done = subprocess.run([sys.executable, "-c", BEGIN + AGAIN], capture_output=True, text=True)

    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == [
        "node 0: lost after 0.0 s",
        "connection <0x0> to host-a:9092 failed",
        "no such host: a",
        "no such host: b",
    ]
