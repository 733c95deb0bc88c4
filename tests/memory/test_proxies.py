"""Proxies of the environment are never asked for this machine, and are told where a call through one fails."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from thalweg.memory.proxies import by_proxy, proxy_to, reach_this_machine_directly

_ALL = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "grpc_proxy")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = dict(os.environ)
    for name in _ALL:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    yield
    for name in {name for name in os.environ if name not in before}:
        del os.environ[name]


@pytest.mark.parametrize("spelling", ["no_proxy", "NO_PROXY"])
def test_this_machine_is_added_to_what_is_reached_directly(monkeypatch: pytest.MonkeyPatch, spelling: str) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv(spelling, ".corp, 10.1.2.3")

    reach_this_machine_directly()

    for name in ("no_proxy", "NO_PROXY"):
        assert os.environ[name] == ".corp,10.1.2.3,localhost,127.0.0.1,::1,[::1]"
    for address in ("127.0.0.1:8081", "[::1]:8081", "http://localhost:8082/subjects", "http://registry.corp"):
        assert proxy_to(address) == "", address
    assert proxy_to("http://elsewhere:8082") == "http://proxy:3128"


def test_without_a_proxy_the_environment_stays_as_it_is() -> None:
    reach_this_machine_directly()
    assert "no_proxy" not in os.environ
    assert "NO_PROXY" not in os.environ


def test_it_may_be_said_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "proxy:3128")
    reach_this_machine_directly()
    once = os.environ["no_proxy"]
    reach_this_machine_directly()
    assert os.environ["no_proxy"] == once


def test_a_call_through_a_proxy_says_so_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://me:secret@proxy.corp:3128")
    assert by_proxy("learner.corp:8081") == (
        " (through the proxy proxy.corp:3128; no_proxy=learner.corp would call it directly)"
    )
    assert "secret" not in by_proxy("https://registry:8085")
    assert by_proxy("http://registry:8085") == ""  # that proxy is for https


def test_the_proxy_of_grpc_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://one:1")
    monkeypatch.setenv("grpc_proxy", "two:2")
    assert "two:2" in by_proxy("learner:8081")
    assert "one:1" in by_proxy("http://learner:8080")
