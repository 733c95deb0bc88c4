"""A real Apache Kafka broker for tests: one node, KRaft, a plain Java process with its data in a temporary folder."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests.services.ports import free_port
from tests.services.processes import PATIENCE, Unavailable, stop

JARS = Path(__file__).parents[2] / ".cache" / "kafka"

PROPERTIES = """
process.roles={roles}
node.id={node}
controller.quorum.voters=1@127.0.0.1:{controller}
listeners={listeners}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{sasl}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=\
 org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="secret";
controller.listener.names=CONTROLLER
log.dirs={folder}/data
num.partitions=1
offsets.topic.replication.factor={copies}
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
message.max.bytes=67108864
replica.fetch.max.bytes=67108864
socket.request.max.bytes=134217728
log.retention.ms=-1
"""

LOGGING = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="WARN"><Appenders><Console name="out" target="SYSTEM_OUT">
<PatternLayout pattern="%d %p %c %m%n"/></Console></Appenders>
<Loggers><Root level="WARN"><AppenderRef ref="out"/></Root></Loggers></Configuration>
"""


class Broker:
    """One broker, which can be stopped, killed and started again with its data.

    Args:
        folder: Its data and what it prints.
        joins: A broker whose cluster this one joins; by default it is a cluster of its own.
        node: Its number in that cluster.
        copies: On how many brokers what groups commit is kept.
        quick_start: Compile little of its code: half the processor time to start, less throughput later.
    """

    def __init__(
        self,
        folder: Path,
        joins: Broker | None = None,
        *,
        node: int = 2,
        copies: int = 1,
        quick_start: bool = True,
    ) -> None:
        if not shutil.which("java"):
            raise Unavailable("no java; run: sudo apt-get install openjdk-17-jre-headless")
        if not (JARS / ".complete").exists():
            raise Unavailable("no Kafka jars in .cache/kafka; run: make services")
        self._folder = folder
        # an id of its own, as real clusters have; one that began with "-" would be taken for an option
        own = "K" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
        self._cluster: str = own if joins is None else joins._cluster
        self._quick_start = quick_start
        self._archived = folder / "classes.jsa"  # written when the broker is stopped, if there is none in the cache yet
        self.port = free_port()
        self._config = folder / "server.properties"
        self.sasl_port = free_port()
        self.controller_port = free_port() if joins is None else joins.controller_port
        ports = {"port": self.port, "sasl": self.sasl_port, "controller": self.controller_port}
        listeners = [f"PLAINTEXT://127.0.0.1:{self.port}", f"SASL_PLAINTEXT://127.0.0.1:{self.sasl_port}"]
        if joins is None:
            listeners.append(f"CONTROLLER://127.0.0.1:{self.controller_port}")
        part = {"roles": "broker,controller", "node": 1} if joins is None else {"roles": "broker", "node": node}
        self._config.write_text(
            PROPERTIES.format(folder=folder, listeners=",".join(listeners), copies=copies, **part, **ports)
        )
        (folder / "log4j2.xml").write_text(LOGGING)
        self._process: subprocess.Popen[bytes] | None = None
        self._output = (folder / "output").open("wb")
        subprocess.run(
            [
                *self._java("64m"),
                "kafka.tools.StorageTool",
                "format",
                "-t",
                self._cluster,
                "-c",
                self._config,
            ],
            check=True,
            stdout=self._output,
            stderr=self._output,
        )

    @property
    def servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def sasl_servers(self) -> str:
        """The listener that expects the user `alice` with the password `secret`, by SASL PLAIN."""
        return f"127.0.0.1:{self.sasl_port}"

    def advertise(self, port: int, host: str = "127.0.0.1") -> None:
        """From its next start on, send clients without a password to this port, and listen on all addresses for those
        of another host.
        """
        text = self._config.read_text()
        mine = f"advertised.listeners=PLAINTEXT://127.0.0.1:{self.port},"
        text = text.replace(mine, f"advertised.listeners=PLAINTEXT://{host}:{port},")
        if host != "127.0.0.1":
            text = text.replace(
                f"\nlisteners=PLAINTEXT://127.0.0.1:{self.port}", f"\nlisteners=PLAINTEXT://[::]:{self.port}"
            )
        self._config.write_text(text)

    def segment(self, topic: str) -> Path:
        """The file of the records of a topic's only partition."""
        (found,) = (self._folder / "data" / f"{topic}-0").glob("*.log")
        return found

    def start(self) -> None:
        archive = [] if _archive().exists() else [f"-XX:ArchiveClassesAtExit={self._archived}"]
        self._process = subprocess.Popen(
            [*self._java("512m", *archive), "kafka.Kafka", str(self._config)], stdout=self._output, stderr=self._output
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(
                        f"Kafka did not start:\n{(self._folder / 'output').read_text()[-3000:]}"
                    ) from None
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        if self._process is not None:
            stop(self._process)
            self._process = None
            self._keep_archive()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """Its connections stay open and nothing is answered, as behind a firewall that drops packets."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        if _archive().exists():
            self.kill()
        else:
            self.stop()
        self._output.close()
        shutil.rmtree(self._folder / "data", ignore_errors=True)  # that of the run's broker lies in no test's folder

    def _keep_archive(self) -> None:
        """Move the archive of loaded classes to the cache, for later brokers; without one they start more slowly."""
        if self._archived.exists() and not _archive().exists():
            beside = _archive().with_name(f".{os.getpid()}.jsa")
            with contextlib.suppress(OSError):
                shutil.copyfile(self._archived, beside)
                beside.rename(_archive())
        self._archived.unlink(missing_ok=True)

    def _java(self, heap: str, *more: str) -> list[str]:
        archive = [f"-XX:SharedArchiveFile={_archive()}"] if _archive().exists() else []
        return [
            "java",
            f"-Xmx{heap}",
            "-XX:+UseSerialGC",
            f"-XX:TieredStopAtLevel={1 if self._quick_start else 4}",
            *archive,
            *more,
            f"-Dlog4j2.configurationFile={self._folder / 'log4j2.xml'}",
            f"-Djava.io.tmpdir={self._folder}",  # a killed broker leaves the libraries there that it has unpacked
            "-cp",
            f"{JARS}/*",
        ]


def _archive() -> Path:
    """Where the classes that a broker loads lie, parsed and checked by this Java for these jars."""
    java = Path(shutil.which("java") or "java").resolve()
    return JARS / f"classes-{java.parts[-3]}-{int(java.stat().st_mtime)}.jsa"
