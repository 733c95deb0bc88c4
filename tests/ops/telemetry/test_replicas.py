"""What several server processes count, added up: no counter goes back, whoever is asked and whoever died."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.telemetry.test_metrics import models_named, samples
from thalweg.ops.telemetry.replicas import Replicas, Tally
from thalweg.ops.telemetry.server_metrics import ServerMetrics

ANSWERS = "thalweg_inference_requests_total"
OK = (ANSWERS, (("code", "OK"), ("model_name", "m")))


class Processes:
    """Three server processes, of which each may die and be replaced."""

    def __init__(self, live: Path) -> None:
        self.live = live
        self.now = 0.0
        self.servers = {number: self.new(number) for number in (1, 2, 3)}

    def new(self, number: int) -> ServerMetrics:
        return ServerMetrics(self.live, models_named("m"), replicas=Replicas(self.live, number, 3, lambda: self.now))

    def answer(self, number: int, times: int = 1) -> None:
        for _ in range(times):
            self.servers[number].answered("m", "OK", 0.01, 2)

    def replace(self, number: int) -> None:
        self.servers[number] = self.new(number)

    def asked(self, number: int) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        return samples(self.servers[number].render()[0])


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    return Processes(tmp_path)


def test_whichever_is_asked_the_page_is_of_all(processes: Processes) -> None:
    for number in (1, 2, 3):
        processes.answer(number, number)
        processes.asked(number)  # tells what it counted

    for number in (1, 2, 3):
        page = processes.asked(number)
        assert page[OK] == 6
        assert page["thalweg_inference_batch_size_sum", (("model_name", "m"),)] == 12
        assert page["thalweg_inference_duration_seconds_count", (("model_name", "m"),)] == 6
        assert processes.servers[number].totals("m").rows == 12
        assert processes.servers[number].latency("m")["p50_seconds"] == pytest.approx(0.01, rel=0.1)


def test_a_process_goes_on_from_what_the_one_before_it_told(processes: Processes) -> None:
    processes.answer(2, 5)
    processes.asked(2)
    processes.replace(2)
    processes.answer(2, 1)

    assert processes.asked(2)[OK] == 6
    assert processes.asked(1)[OK] == 6
    assert processes.servers[1].totals("m").succeeded == 6


@given(steps=st.lists(st.tuples(st.sampled_from(["answer", "ask", "replace"]), st.integers(1, 3)), max_size=40))
@settings(max_examples=50)
def test_no_counter_goes_back_whatever_happens(
    steps: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    processes, before = Processes(tmp_path_factory.mktemp("live")), 0.0
    for what, number in steps:
        if what == "answer":
            processes.answer(number)
        elif what == "replace":
            processes.replace(number)
        else:
            now = processes.asked(number)[OK]
            assert now >= before
            before = now


def test_what_a_process_held_counts_only_while_it_lives(processes: Processes) -> None:
    for number in (1, 2):
        processes.servers[number].gauges = {"http_connections": lambda: 4.0}
        processes.asked(number)
    load = ("thalweg_interface_load", (("kind", "http_connections"),))
    assert processes.asked(1)[load] == 8

    processes.now += 60

    assert processes.asked(1)[load] == 4


def test_a_damaged_file_counts_as_it_was_read_last(processes: Processes) -> None:
    processes.answer(2, 3)
    processes.asked(2)
    assert processes.asked(1)[OK] == 3

    for content in (b"", b"{", b"[]", b'{"time": 1}', b'{"time": "x", "counters": [[]]}'):
        (processes.live / "server-2.json").write_bytes(content)
        assert processes.asked(1)[OK] == 3


def test_a_tally_is_read_as_it_was_written() -> None:
    tally = Tally({("a", ("x",)): 2.0}, {("h", ()): ([1, 2], 0.5)}, {"m": {"last": 3.0}}, {"g": 1.0}, {"m": ([1], 2.0)})

    assert Tally.read(tally.written()) == tally
