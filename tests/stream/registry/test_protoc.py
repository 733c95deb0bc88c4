"""A Protobuf schema's compiler runs in a process of its own: what ends that process says nothing about the schema."""

from __future__ import annotations

import signal
import stat
import sys
from pathlib import Path

import pytest

from thalweg.proto.framing.framing import RegisteredSchema
from thalweg.stream.log.log import LogError
from thalweg.stream.registry.protoc import compiled

TEXT = 'syntax = "proto3"; message E { string id = 1; }'


def standing_in(folder: Path, ending: str) -> str:
    """An interpreter that ends in this way, whatever it is asked to run."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\nimport os, signal\n{ending}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_compiler_that_is_killed_leaves_the_schema_unjudged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(sys, "executable", standing_in(tmp_path, f"os.kill(os.getpid(), {int(number)})"))

    with pytest.raises(LogError, match=f"its compiler was ended by signal {int(number)}"):
        compiled(RegisteredSchema("PROTOBUF", TEXT))


def test_a_compiler_that_a_schema_crashes_finds_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", standing_in(tmp_path, "os.kill(os.getpid(), signal.SIGSEGV)"))

    assert f"its compiler ends with -{int(signal.SIGSEGV)}" in (
        compiled(RegisteredSchema("PROTOBUF", TEXT)).fault or ""
    )


def test_a_sound_schema_is_compiled() -> None:
    found = compiled(RegisteredSchema("PROTOBUF", TEXT))

    assert (found.fault, bool(found.compiled)) == ("", True)
