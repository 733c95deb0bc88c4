"""A port that a test was given is given to no other test process, and to no connection."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import ports
from tests.services.ports import free_port, give_back

ANOTHER = """
import sys
from tests.services import ports
ports._in_some_order = lambda: map(int, sys.argv[1:])
try:
    print(ports.free_port())
except RuntimeError as error:
    print(error)
"""


def another_process_gets(*of: int) -> str:
    command = [sys.executable, "-c", ANOTHER, *map(str, of)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_port_belongs_to_the_process_that_was_given_it_also_while_nothing_listens() -> None:
    mine, other = free_port(), free_port()
    give_back(mine)  # known to be free, for the other process to take

    assert another_process_gets(other) == "no port is free"
    assert another_process_gets(other, mine) == str(mine)


def test_a_port_where_something_listens_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, free = free_port(), free_port()
    give_back(taken)
    give_back(free)
    monkeypatch.setattr(ports, "_in_some_order", lambda: iter([taken, free]))

    with socket.create_server(("127.0.0.1", taken)):
        assert free_port() == free


@pytest.mark.parametrize(
    ("kernels", "ours"),
    [
        ("32768\t60999\n", range(10_000, 32_768)),
        ("10000\t30000\n", range(30_001, 65_536)),
        ("1024\t65535\n", range(10_000, 65_536)),  # it leaves none: the locks are all there is
        ("", range(10_000, 32_768)),
    ],
)
def test_ports_lie_outside_the_range_that_the_kernel_gives_to_connections(
    kernels: str, ours: range, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "range").write_text(kernels)
    monkeypatch.setattr(ports, "_RANGE", tmp_path / "range")

    assert ports._outside_the_kernels_range() == ours
    assert free_port() in ours
