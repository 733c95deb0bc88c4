"""The hosts of a soak of several: brokers, Redis, an object store, hosts that learn and that serve; what is asked of
them all the time, and the faults of each part.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import redis

from tests.ops.running import Service
from tests.samples import FEATURES
from tests.services.kafka import Broker
from tests.services.object_store import S3Server
from tests.services.redis import RedisServer

REQUEST = json.dumps(
    {"inputs": [{"name": "features", "shape": [1, FEATURES], "datatype": "FP32", "data": [0.5] * FEATURES}]}
).encode()
AT_ONCE = 2
"""Faults of different parts that are in force together, at most."""


@dataclass
class Asking:
    """A caller who asks one server, and the other one if that does not answer, as a load balancer does."""

    ports: list[int]
    answered: int = 0
    failed: list[str] = field(default_factory=list)
    backwards: list[str] = field(default_factory=list)
    """Answers that had learned less than an earlier one of the same server."""
    _newest: dict[int, int] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Ask until `stop`."""
        while not self._stop.wait(0.02):
            problems = []
            for port in self.ports:
                try:
                    learned = asked(port)
                except (OSError, LookupError, ValueError) as error:
                    problems.append(repr(error))
                    continue
                if learned < self._newest.get(port, 0):
                    self.backwards.append(f"{self._newest[port]} to {learned}")
                self._newest[port] = learned
                self.answered += 1
                break
            else:
                self.failed.append("; ".join(problems))
            self.ports.append(self.ports.pop(0))

    def stop(self) -> None:
        """Ask no more."""
        self._stop.set()


def asked(port: int) -> int:
    """The events that the model of an answer has learned. Raises OSError, LookupError or ValueError: there is none."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v2/models/m/infer", REQUEST)
    with urllib.request.urlopen(request, timeout=60) as answer:
        found = json.loads(answer.read())
    assert found["outputs"]
    return int(found["parameters"]["learned_events"])


@dataclass
class Hosts:
    """All that runs."""

    brokers: list[Broker]
    redis: RedisServer
    store: S3Server
    services: dict[str, Service]
    """By name: `l1`, `l2` learn; `s1`, `s2` serve."""


class Faults:
    """Injects faults, at most `AT_ONCE` of them together and one of each part, from the caller's thread. What is killed
    is started again by itself; what is stopped, slow, full or away is so for some seconds.
    """

    def __init__(self, hosts: Hosts, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self._hosts, self._chance = hosts, random.Random(seed)
        self._next = time.monotonic() + 1.0
        self._forced: dict[str, tuple[Callable[[], None], float]] = {}
        """By part, what ends its fault, and when."""

    def turn(self, *, left_seconds: float) -> None:
        """Begin and end faults as it is time; none begins shortly before the end of the load."""
        now = time.monotonic()
        for part, (ends, when) in list(self._forced.items()):
            if now >= when:
                del self._forced[part]
                ends()
        if now < self._next or left_seconds < 5.0 or len(self._forced) >= AT_ONCE:
            return
        self._next = now + self._chance.uniform(1.0, 6.0)
        part = self._chance.choice([one for one in _PARTS if one not in self._forced])
        name, ends, seconds = _PARTS[part](self._hosts, self._chance)
        self.counts[name] += 1
        self._forced[part] = ends, now + seconds

    def heal(self) -> None:
        """End all of them."""
        for ends, _ in self._forced.values():
            ends()
        self._forced = {}


Fault = tuple[str, Callable[[], None], float]


def _process(role: str, names: tuple[str, ...], longest: float) -> Callable[[Hosts, random.Random], Fault]:
    """A fault of a process of one of these hosts; the part is left alone until it has come back."""

    def fault(hosts: Hosts, chance: random.Random) -> Fault:
        service = hosts.services[chance.choice(names)]
        pid = service.pid(role)
        if pid is None:
            return f"{role} was not there", _nothing, 1.0
        if chance.random() < 0.5:
            _send(pid, signal.SIGKILL)
            return f"{role} killed", _nothing, 12.0
        _send(pid, signal.SIGSTOP)
        return f"{role} stopped", lambda: _send(pid, signal.SIGCONT), chance.uniform(1.0, longest)

    return fault


def _broker(hosts: Hosts, chance: random.Random) -> Fault:
    broker = chance.choice(hosts.brokers)
    how = chance.choice(["stopped", "killed"])
    (broker.stop if how == "stopped" else broker.kill)()
    return f"broker {how}", broker.start, chance.uniform(2.0, 20.0)


def _redis(hosts: Hosts, chance: random.Random) -> Fault:
    how = chance.choice(["restarted empty", "stopped", "full"])
    seconds = chance.uniform(1.0, 15.0)
    if how == "restarted empty":
        hosts.redis.stop()
        return f"Redis {how}", hosts.redis.start, seconds
    if how == "stopped":
        hosts.redis.process.send_signal(signal.SIGSTOP)
        return f"Redis {how}", lambda: hosts.redis.process.send_signal(signal.SIGCONT), seconds
    client = redis.Redis.from_url(hosts.redis.url)
    client.config_set("maxmemory", 1)
    return f"Redis {how}", lambda: _full_no_more(client), seconds


def _full_no_more(client: redis.Redis) -> None:
    client.config_set("maxmemory", 0)
    client.close()


def _store(hosts: Hosts, chance: random.Random) -> Fault:
    how = chance.choice(["slow", "full", "failing", "away"])
    seconds = chance.uniform(2.0, 60.0 if how == "failing" else 20.0)
    if how == "away":
        hosts.store.stop()
        return f"object store {how}", hosts.store.start, seconds
    hosts.store.fault = how
    return f"object store {how}", lambda: setattr(hosts.store, "fault", ""), seconds


def _nothing() -> None: ...


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


_PARTS: dict[str, Callable[[Hosts, random.Random], Fault]] = {
    "learner": _process("learner", ("l1", "l2"), 15.0),  # past its session
    "server": _process("server", ("s1", "s2"), 4.0),
    "follower": _process("follower", ("s1", "s2"), 15.0),
    "broker": _broker,
    "redis": _redis,
    "store": _store,
}
