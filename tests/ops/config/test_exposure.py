"""`check` points out what a configuration leaves open to others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from thalweg.ops.config.access.exposure import exposures
from thalweg.ops.config.config import parse
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.serve.access.tokens import hashed

TOKEN = hashed("a-token-of-some-length")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths of a configuration are relative to the working directory, which may hold the state of another run."""
    monkeypatch.chdir(tmp_path)


def lines(**service: Any) -> list[str]:
    model = {"name": "fraud", "learner": "ridge", "topic": "t", "inputs": {"x": {"shape": [2]}}}
    return list(exposures(parse({"service": service, "model": [model]}, "t.toml", {})))


def written(path: Path, content: str, mode: int = 0o600) -> str:
    path.write_text(content)
    path.chmod(mode)
    return str(path)


def test_nothing_is_said_of_a_service_that_only_this_machine_reaches(tmp_path: Path) -> None:
    assert lines() == []
    assert lines(grpc="[::1]:1", http="localhost:2") == []
    assert lines(token_file=written(tmp_path / "t", f"{TOKEN} roles=read models=fraud")) == []


def test_a_service_that_others_reach_without_tokens_is_pointed_out() -> None:
    (line,) = lines(grpc="0.0.0.0:8081")

    assert line.startswith("service.grpc: others can reach it, and there is no service.token_file")


def test_a_service_that_verifies_jwts_asks_for_tokens(tmp_path: Path) -> None:
    keys = written(tmp_path / "keys.json", '{"keys": [{"kty": "EC", "kid": "a"}]}')

    (line,) = lines(grpc="0.0.0.0:8081", jwt={"issuer": "https://x.example", "audience": "a", "keys": keys})

    assert line.startswith("service.grpc: others can reach it, and tokens are sent in clear")


def test_a_token_file_that_others_read_or_that_holds_tokens_or_names_no_model_is_pointed_out(tmp_path: Path) -> None:
    path = written(tmp_path / "t", "a-token-of-some-length roles=read models=frod,fraud name=ada", 0o644)

    found = lines(token_file=path)

    assert [one.partition(": ")[2] for one in found] == [
        f"others on this machine may read {path}; chmod 600 {path}",
        "1 of its tokens stand in clear; `thalweg token` makes lines with hashes",
        "ada: no model or alias is called 'frod'; did you mean 'fraud'?",
    ]


def test_a_secret_that_an_orchestrator_mounts_for_our_group_is_read_by_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "t", f"sha256:{'0' * 64} roles=read name=ada", 0o440)
    group = Path(path).stat().st_gid
    assert lines(token_file=path) != []

    monkeypatch.setattr(os, "getuid", lambda: 12345)
    monkeypatch.setattr(os, "getgid", lambda: 12345)
    for groups, told in (([group], False), ([], True)):
        monkeypatch.setattr(os, "getgroups", lambda groups=groups: groups)
        assert bool(lines(token_file=path)) == told
    Path(path).chmod(0o444)
    monkeypatch.setattr(os, "getgroups", lambda: [group])
    assert lines(token_file=path) != []


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("hosts", ["http://x"], "service.hosts: expected names without scheme and port, got 'http://x'"),
        ("hosts", ["x:80"], "got 'x:80'"),
        ("origins", ["x.example"], "service.origins: expected http://HOST"),
        ("origins", ["https://x.example/path"], "got 'https://x.example/path'"),
        ("requests_per_second", -1.0, "service.requests_per_second: expected at least 0"),
    ],
)
def test_a_host_or_origin_that_could_never_match_is_a_mistake(key: str, value: Any, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        lines(**{key: value})
