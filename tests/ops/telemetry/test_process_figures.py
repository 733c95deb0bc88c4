"""Figures of a process are those of the system; of one that ended there are none."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from thalweg.ops.telemetry.process_figures import process_figures


def test_figures_of_a_process_are_those_that_others_find() -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert other.stdout is not None
        os.read(other.stdout.fileno(), 1)  # it runs now: before its exec a process may hold nothing
        found, expected = process_figures(other.pid), psutil.Process(other.pid)

        assert found is not None
        assert found.start_time_seconds == pytest.approx(expected.create_time(), abs=1.5)
        assert found.open_fds >= 2
        assert found.resident_memory_bytes > 0
        assert found.cpu_seconds >= 0
    finally:
        other.communicate(b"\n")


def test_one_that_ended_or_never_was_has_none() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # ended, but still in the table of processes

    assert process_figures(ended.pid) is None
    ended.wait()
    assert process_figures(ended.pid) is None
    assert process_figures(None) is None
