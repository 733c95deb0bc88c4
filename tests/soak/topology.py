"""What the chart starts, for minutes, under load and faults at random; afterwards everything must be exact.

    python -m tests.soak.topology --minutes 15

Three brokers, Redis, an S3, two hosts that learn and two that serve one model of four shards. Events are appended and
requests asked all the time; learners, servers, followers, brokers, Redis and the object store are killed, stopped,
slow, full or away, two parts at once at most. At the end every event was learned once, the merged shards answer as one
learner of all events, no request failed at both servers, and nothing has piled up.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from kafka import KafkaAdminClient

from tests.ops.run.shards.test_hosts import scores
from tests.ops.run.shards.test_topology import PARTITIONS, _host
from tests.ops.run.shards.workers import merged, newest, newest_state
from tests.ops.running import Service
from tests.samples import events
from tests.services.kafka import Broker
from tests.services.object_store import s3
from tests.services.processes import until
from tests.services.redis import RedisServer
from tests.soak.hosts import Asking, Faults, Hosts, asked
from tests.soak.resources import Resources
from tests.soak.run import Watched, leaks
from thalweg.memory.objects.objects import Objects
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.ops.cli.produce import messages
from thalweg.ops.config.config import load
from thalweg.ops.run.app import new_learner
from thalweg.proto.event import Batch
from thalweg.stream.log.log import LogError

TURN_SECONDS, TURN_EVENTS = 0.1, 10
CATCH_UP_SECONDS = 240.0
LEAKS_SECONDS = 300.0
"""In a shorter soak processes are still opening connections, to three brokers each, that were cut before."""
MOST_OBJECTS = {"heads": 8, "journal": 8, "owners": 11, "announced": 2, "announced-hosts": 2, "relay": 0}
"""Of each shard, at most; contents are kept for an hour."""


@dataclass
class Verdict:
    """What a soak did and saw."""

    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    figures: dict[str, int] = field(default_factory=dict)
    resources: dict[str, list[Resources]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """What is not as it must be; empty: everything was exact."""

    def show(self) -> None:
        """Print it."""
        print(f"soak of {self.seconds:.0f} s")
        for what, counts in (("faults", self.faults), ("figures", self.figures)):
            print(f"  {what}: " + ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())))
        for role, found in self.resources.items():
            if found:
                print(f"  {role}: resident {found[0].resident_bytes >> 20} to {found[-1].resident_bytes >> 20} MiB")
        print("  " + ("\n  ".join(self.problems) if self.problems else "everything exact"))


def soak(folder: Path, seconds: float, seed: int) -> Verdict:
    """Run it in an empty folder. Raises Unavailable: there is no Java, or no Redis."""
    verdict = Verdict()
    with ExitStack() as stack:
        hosts = _started(folder, stack)
        sent = _under_load(hosts, verdict, seconds, seed)
        _check(folder, hosts, sent, verdict)
    return verdict


def _started(folder: Path, stack: ExitStack) -> Hosts:
    brokers: list[Broker] = []
    for number in (1, 2, 3):
        (folder / f"broker-{number}").mkdir()
        brokers.append(Broker(folder / f"broker-{number}", brokers[0] if brokers else None, node=number, copies=3))
        stack.callback(brokers[-1].close)
        brokers[-1].start()
    redis = RedisServer(folder)
    redis.start()
    stack.callback(redis.stop)
    store = stack.enter_context(s3())
    servers = ",".join(broker.servers for broker in brokers)
    admin = KafkaAdminClient(bootstrap_servers=servers)
    until("three brokers", lambda: len(admin.describe_cluster()["brokers"]) == 3)
    for topic in ("m.events", "m.events.dlq", "m.alarms"):
        admin.create_topics({topic: {"num_partitions": PARTITIONS, "replication_factor": 3}})
    admin.close()
    services = {name: _host(folder, name, servers, redis.url, store.url) for name in ("l1", "l2", "s1", "s2")}
    for service in services.values():
        service.path.write_text(service.path.read_text().replace("kept = 1000", "kept = 5"))
        service.start(cold=True)
        stack.callback(service.close)
    return Hosts(brokers, redis, store, services)


def _batch(first: int) -> Batch:
    keys = [f"user-{row % 40}" for row in range(first, first + TURN_EVENTS)]
    return replace(events(TURN_EVENTS, first, seed=first), keys=keys)


class Appending:
    """Appends events all the time, in a thread of its own: a broker that is away holds it up."""

    def __init__(self, service: Service) -> None:
        self.sent: list[Batch] = []
        self.problem = ""
        """Why nothing is appended any more."""
        self._log, self._stop = service.log, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.start = self._thread.start

    @property
    def count(self) -> int:
        """Of events that Kafka has."""
        return TURN_EVENTS * len(self.sent)

    def finish(self) -> None:
        """Append no more, once what is begun is there."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(TURN_SECONDS):
            batch = _batch(self.count)
            try:
                until("Kafka to take them", lambda batch=batch: self._appended(batch))  # type: ignore[misc]
            except AssertionError as error:
                self.problem = str(error)
                return
            self.sent.append(batch)

    def _appended(self, batch: Batch) -> bool:
        """What failed may be there: events have ids, and are sent again."""
        try:
            self._log.append("m.events", messages(batch, 1))
        except LogError:
            return False
        return True


def _under_load(hosts: Hosts, verdict: Verdict, seconds: float, seed: int) -> list[Batch]:
    appending = Appending(hosts.services["l1"])
    ports = [hosts.services[name].ports["http"] for name in ("s1", "s2")]
    appending.start()
    until("both to answer", lambda: all(_learned_by(port) > 0 for port in ports))
    asking, faults = Asking(ports[:]), Faults(hosts, seed)
    watched = {(name, role): Watched() for name, role in (("s1", "server"), ("s2", "follower"), ("l1", "learner"))}
    caller, began = threading.Thread(target=asking.run), time.monotonic()
    caller.start()
    try:
        while (now := time.monotonic()) < began + seconds and not _ended(hosts):
            # the last third is left alive, so that a leak shows
            if now < began + seconds * 2 / 3:
                faults.turn(left_seconds=began + seconds * 2 / 3 - now)
            else:
                faults.heal()
            for (name, role), one in watched.items():
                one.look(hosts.services[name].pid(role), now)
            time.sleep(TURN_SECONDS)
        faults.heal()
        appending.finish()
        _caught_up(hosts, ports, appending.count, verdict)
    finally:
        faults.heal()
        appending.finish()
        asking.stop()
        caller.join()
    verdict.seconds, verdict.faults = time.monotonic() - began, faults.counts
    verdict.resources = {f"{role} of {name}": one.found for (name, role), one in watched.items()}
    verdict.figures |= {"answered": asking.answered, "events": appending.count}
    verdict.problems += [*_ended(hosts), *([appending.problem] if appending.problem else [])]
    if asking.failed:
        verdict.problems.append(f"{len(asking.failed)} requests failed at both servers: {asking.failed[:2]}")
    if asking.backwards:
        verdict.problems.append(f"versions went back {len(asking.backwards)} times: {asking.backwards[:3]}")
    return appending.sent


def _ended(hosts: Hosts) -> list[str]:
    """The services that are there no more: what was killed they start again, and nothing ends them."""
    return [
        f"{name} has ended by itself: …{service.text()[-800:]}"
        for name, service in hosts.services.items()
        if service.processes[-1].poll() is not None
    ]


def _learned_by(port: int) -> int:
    try:
        return asked(port)
    except (OSError, LookupError, ValueError):
        return -1


def _caught_up(hosts: Hosts, ports: list[int], count: int, verdict: Verdict) -> None:
    began = time.monotonic()
    for what, found in (
        ("learned", lambda: _learned(hosts.store.url)),
        ("answered by both", lambda: min(map(_learned_by, ports))),
    ):
        with suppress(AssertionError):  # told below
            until(f"all to be {what}", lambda found=found: found() >= count or _ended(hosts), CATCH_UP_SECONDS)  # type: ignore[misc]
        if (got := found()) != count:
            verdict.problems.append(f"{got} events {what}, expected {count}: each once")
    verdict.figures["seconds to catch up"] = round(time.monotonic() - began)


def _manifests(url: str) -> list[Manifest]:
    found = [newest(url, f"m~{number}") for number in range(PARTITIONS)]
    return [manifest for manifest in found if manifest is not None]


def _learned(url: str) -> int:
    return sum(one.events_learned for one in _manifests(url))


def _check(folder: Path, hosts: Hosts, sent: list[Batch], verdict: Verdict) -> None:
    model = load(hosts.services["l1"].path, {}).model[0]
    alone, url = new_learner(model), hosts.store.url
    states = [newest_state(url, f"m~{number}", folder / "restored" / str(number)) for number in range(PARTITIONS)]
    for batch in sent:
        alone.learn(batch)
    made, expected = scores(merged(model, states).predictor()), scores(alone.predictor())
    if not np.allclose(made, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max()):
        verdict.problems.append(f"merged scores differ from those of one learner by {np.abs(made - expected).max()}")
    verdict.problems += _piled_up(hosts)
    if verdict.seconds >= LEAKS_SECONDS:
        verdict.problems += [line for role, found in verdict.resources.items() for line in leaks(role, found)]
    for name, service in hosts.services.items():
        if "Traceback" in (text := service.text()):
            place = text.index("Traceback")
            verdict.problems.append(f"a traceback on {name}: …{text[max(0, place - 300) : place + 1500]}")


def _piled_up(hosts: Hosts) -> list[str]:
    objects, found = Objects(hosts.store.url), []
    for number in range(PARTITIONS):
        counts = Counter(one.name.split("/")[1] for one in objects.names(f"m~{number}"))
        for kind, most in MOST_OBJECTS.items():
            if counts[kind] > most:
                found.append(f"{counts[kind]} objects below m~{number}/{kind}, expected at most {most}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        verdict = soak(Path(folder), options.minutes * 60, options.seed)
    verdict.show()
    return 1 if verdict.problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
