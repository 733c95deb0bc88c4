"""The real parts start on free ports, answer, and are gone afterwards; a part that is missing says how to get it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.services.kafka import Broker
from tests.services.processes import Unavailable, required_or_skipped, until
from tests.services.prometheus import PrometheusServer, binary
from tests.services.redis import RedisServer


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.mark.prometheus
def test_a_prometheus_scrapes_what_it_is_told_to(start_prometheus: Callable[[str], PrometheusServer]) -> None:
    server = start_prometheus("scrape_configs: []")
    server.stop()
    config = (
        "scrape_configs: [{job_name: itself, scrape_interval: 100ms, scrape_timeout: 100ms, "
        f"static_configs: [{{targets: ['127.0.0.1:{server.port}']}}]}}]"
    )
    (server._folder / "prometheus.yml").write_text(config)
    server.start()

    up = until("a first scrape", lambda: server.query("up"))

    assert [dict(labels)["job"] for labels in up] == ["itself"]
    server.stop()
    assert not listens(server.port)


@pytest.mark.prometheus
def test_a_configuration_that_prometheus_refuses_is_shown_with_its_words(
    start_prometheus: Callable[[str], PrometheusServer],
) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)did not start:.*no_such_field"):
        start_prometheus("no_such_field: 1")


def test_a_part_that_is_missing_skips_or_fails_with_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("THALWEG_PROMETHEUS", str(tmp_path))
    makers: list[Callable[[], object]] = [
        lambda: Broker(tmp_path),
        lambda: RedisServer(tmp_path),
        lambda: binary("promtool"),
    ]

    for make in makers:
        monkeypatch.setenv("THALWEG_REQUIRE_SERVICES", "1")
        with pytest.raises(Unavailable, match="run: sudo apt-get install"), required_or_skipped():
            make()
        monkeypatch.delenv("THALWEG_REQUIRE_SERVICES")
        with pytest.raises(pytest.skip.Exception, match="run: sudo apt-get install"), required_or_skipped():
            make()
