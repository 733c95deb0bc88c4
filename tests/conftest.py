"""What holds for every test: one thread for arithmetic, derandomised properties, patience, and where data lies."""

import logging
import os
import ssl
import sys
import threading

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before NumPy loads: two threads on busy cores are slower, and reorder sums

from collections.abc import Callable, Iterator, Mapping  # noqa: E402 - the environment comes first
from pathlib import Path  # noqa: E402
from typing import Any, TypeAlias  # noqa: E402

import httpx  # noqa: E402
import pytest  # noqa: E402
import structlog  # noqa: E402
from hypothesis import settings  # noqa: E402

from tests.services.kafka import Broker  # noqa: E402
from tests.services.processes import PATIENCE, required_or_skipped  # noqa: E402
from tests.services.prometheus import PrometheusServer  # noqa: E402
from tests.services.redis import RedisServer  # noqa: E402
from thalweg.models.parts.user_modules import allow  # noqa: E402
from thalweg.stream.log.kafka_shared.choice import Client, effective_client  # noqa: E402
from thalweg.stream.log.log import Log, LogError, Reading  # noqa: E402
from thalweg.stream.log.open import open_log  # noqa: E402
from thalweg.stream.publication.live_folder import remove_orphans  # noqa: E402

Opener: TypeAlias = Callable[..., Log]

settings.register_profile("thalweg", deadline=None, derandomize=True)
settings.load_profile("thalweg")

_no_certificates = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # nothing here speaks TLS; to load them takes 20 ms a client
for _asking in (httpx.get, httpx.post, httpx.Client.__init__):
    _asking.__kwdefaults__["verify"] = _no_certificates
for _part in ("connect", "read", "write", "pool"):  # where no timeout is given: 5 s, which a busy machine exceeds
    setattr(httpx.get.__kwdefaults__["timeout"], _part, PATIENCE)

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("THALWEG_SHARED", ROOT.parent / "shared"))


_UMASK = os.umask(0o022)
os.umask(_UMASK)


_HOOKS = ((sys, "excepthook"), (sys, "unraisablehook"), (threading, "excepthook"))
_before: list[Any] = []


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Note what a command that is run in this process may change."""
    _before[:] = [getattr(module, name) for module, name in _HOOKS]


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Undo what such a command did: its log goes to a stream that is closed by now, and takes what Python and libraries
    tell; its files are private; and it may have named the modules that are allowed.
    """
    for (module, name), hook in zip(_HOOKS, _before):
        setattr(module, name, hook)
    for handler in [one for one in logging.root.handlers if type(one).__module__ == "thalweg.ops.run.logs"]:
        logging.root.removeHandler(handler)
    os.umask(_UMASK)
    if structlog.is_configured():
        structlog.reset_defaults()
    allow(None)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Remove what the last tests have published: a service removes such folders when it starts, and none follows."""
    remove_orphans(remembered_seconds=0.0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first: at the end, no test process waits long for another one."""
    items.sort(
        key=lambda item: max((mark.args[0] for mark in item.iter_markers("slow") if mark.args), default=0), reverse=True
    )


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden arrays and real streams; skips with the reason where it is absent."""
    if not (SHARED / "golden").is_dir():
        pytest.skip(f"no golden arrays at {SHARED}; set THALWEG_SHARED to the folder that has golden/ and data/")
    return SHARED


@pytest.fixture(scope="session")
def kafka_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`HOST:PORT` of a real broker: that of THALWEG_KAFKA, or one started for this run."""
    if "THALWEG_KAFKA" in os.environ:
        yield os.environ["THALWEG_KAFKA"]
        return
    with required_or_skipped():
        broker = Broker(tmp_path_factory.mktemp("kafka"))
    broker.start()
    yield broker.servers
    broker.close()


@pytest.fixture(params=["kafka-python", "confluent"])
def kafka_client(request: pytest.FixtureRequest) -> Client:
    """Each client of Kafka; skips with the reason where confluent-kafka is not installed."""
    client: Client = request.param
    try:
        effective_client(client)
    except LogError as error:
        pytest.skip(str(error))
    return client


@pytest.fixture
def open_kafka(kafka_client: Client) -> Opener:
    """Opens a log of Kafka by each client: servers, properties, and what to do about records that cannot be read."""

    def opened(servers: str, properties: Mapping[str, Any] | None = None, reading: Reading | None = None) -> Log:
        return open_log(f"kafka://{servers}", properties, None, reading, kafka_client)

    return opened


@pytest.fixture
def kafka_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own, started, for stopping and killing."""
    with required_or_skipped():
        broker = Broker(tmp_path)
    broker.start()
    yield broker
    broker.close()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real Redis: that of THALWEG_REDIS, or one started for this run."""
    if "THALWEG_REDIS" in os.environ:
        yield os.environ["THALWEG_REDIS"]
        return
    with required_or_skipped():
        server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
def start_prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], PrometheusServer]]:
    """Starts a real Prometheus with the configuration it is given; stopped after the test."""
    started: list[PrometheusServer] = []

    def start(config: str) -> PrometheusServer:
        with required_or_skipped():
            started.append(PrometheusServer(tmp_path_factory.mktemp("prometheus"), config))
        started[-1].start()
        return started[-1]

    yield start
    for server in started:
        server.stop()
