"""For how long a shard is not learned when it moves: to learners that come, and to a standby from one that is killed.

Learner processes of hosts of their own on a real Kafka, under a steady trickle of events. What is measured is by the
clock, on cores that they all share: the time between two versions of a shard that have learned more, whichever host
published them, and in the logs that between the assignment of a partition and the moment when its state is claimed,
brought up to date and handed to the processor, which then learns what is left of the journal.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from kafka import KafkaAdminClient

from benchmarks.report import Result, at_most, show
from benchmarks.scale import Scale
from benchmarks.shards import _events, _key
from tests.services import warm
from tests.services.kafka import Broker
from tests.services.processes import until
from thalweg.ops.cli.produce import messages
from thalweg.stream.log.open import open_log
from thalweg.stream.publication.announcement import ANNOUNCEMENT, newest_slot

_PARTITIONS, _FEATURES, _PER_RECORD = 4, 64, 5
_TRICKLE_SECONDS = 0.05
_SESSION_SECONDS = 6.0


class _Hosts:
    """Learner processes, each with a folder of its own."""

    def __init__(self, folder: Path, broker: Broker, topic: str, stack: ExitStack) -> None:
        self._folder, self._broker, self._topic, self._stack = folder, broker, topic, stack
        self.processes: dict[str, warm.Process] = {}

    def start(self, name: str, role: str = "learn") -> None:
        path = self._folder / f"{name}.toml"
        path.write_text(
            f'[service]\nrole = "{role}"\nleast_learners = 2\n'
            f'state_dir = "{self.folder(name)}"\nstate_url = "file:{self._folder}/objects"\n'
            f'[log]\nurl = "kafka://{self._broker.servers}"\n'
            f'[log.kafka]\n"session.timeout.ms" = {int(_SESSION_SECONDS * 1000)}\n'
            f'[[model]]\nname = "m"\nlearner = "ridge"\ntopic = "{self._topic}"\n'
            f'inputs.features = {{ shape = [{_FEATURES}], dtype = "float32" }}\n[model.scale]\nanswers = "key"\n'
        )
        output = self._stack.enter_context((self._folder / f"{name}.log").open("wb"))
        arguments = ("serve", str(path), "--role", "learn", "--learner", "1", "--log-format", "json")
        self.processes[name] = process = warm.start(*arguments, stdout=output, stderr=output)

        def end() -> None:
            process.kill()
            process.wait()

        self._stack.callback(end)

    def folder(self, name: str) -> Path:
        return self._folder / name

    def said(self, name: str, event: str) -> list[dict[str, object]]:
        """What a process has logged under this text."""
        lines = (self._folder / f"{name}.log").read_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [one for one in found if one.get("event") == event]

    def learned(self) -> dict[int, tuple[int, str]]:
        """Learned events of the newest version of each shard, and whose it is."""
        found: dict[int, tuple[int, str]] = {}
        for name in [*self.processes]:
            for number in range(_PARTITIONS):
                path = self.folder(name) / "live" / f"m~{number}" / ANNOUNCEMENT
                slot = newest_slot(path.read_bytes()) if path.exists() else None
                if slot is not None:
                    found[number] = max(found.get(number, (-1, "")), (slot.info.learned_events, name))
        return found


class _Watch:
    """Within the block: the longest time in which each shard has learned nothing, and which have another owner."""

    def __init__(self, hosts: _Hosts) -> None:
        self._hosts, self._stopping = hosts, threading.Event()
        self.longest = dict.fromkeys(range(_PARTITIONS), 0.0)
        self.owners: dict[int, list[str]] = {}
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    @property
    def moved(self) -> set[int]:
        return {number for number, owners in self.owners.items() if len(owners) > 1}

    def _run(self) -> None:
        last, at = self._hosts.learned(), dict.fromkeys(range(_PARTITIONS), time.monotonic())
        self.owners = {number: [name] for number, (_, name) in last.items()}
        while not self._stopping.wait(0.005):
            now = self._hosts.learned()
            for number, (count, name) in now.items():
                moment = time.monotonic()
                if count > last.get(number, (-1, ""))[0]:
                    self.longest[number] = max(self.longest[number], moment - at[number])
                    last[number], at[number] = (count, name), moment
                    if name not in self.owners.setdefault(number, [])[-1:]:
                        self.owners[number].append(name)


def run(scale: Scale = Scale.FULL) -> list[Result]:
    seconds = scale.of(20.0, quick=12.0, tiny=4.0)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "broker").mkdir()
        broker = Broker(folder / "broker", quick_start=False)
        stack.callback(broker.close)
        broker.start()
        admin = KafkaAdminClient(bootstrap_servers=broker.servers)
        admin.create_topics({"t": {"num_partitions": _PARTITIONS}})
        admin.close()
        hosts = _Hosts(folder, broker, "t", stack)
        stack.enter_context(_trickle(broker))
        hosts.start("host-0")
        until("all shards to be learned", lambda: len(hosts.learned()) == _PARTITIONS)
        with _Watch(hosts) as still:
            time.sleep(seconds / 2)
        with _Watch(hosts) as grown:
            for number in (1, 2, 3):
                hosts.start(f"host-{number}")
            until("four owners", lambda: len({owner for _, owner in hosts.learned().values()}) == 4)
            time.sleep(seconds / 2)
        handed = _handed_over(hosts)
        with _Watch(hosts) as shrunk:
            for number in (2, 3):
                hosts.processes[f"host-{number}"].send_signal(signal.SIGTERM)
            until("two owners", lambda: {owner for _, owner in hosts.learned().values()} == {"host-0", "host-1"})
            time.sleep(seconds / 2)
        hosts.start("standby", "standby")
        until("it to follow", lambda: len(hosts.said("standby", "follows a shard")) == _PARTITIONS)
        time.sleep(seconds / 2)
        with _Watch(hosts) as killed:
            at = time.time()
            hosts.processes["host-1"].kill()
            until("the standby to own", lambda: "standby" in {owner for _, owner in hosts.learned().values()})
            time.sleep(seconds / 2)
        taken = _from_assignment(hosts)
        assigned = [_moment(one) - at for one in hosts.said("standby", "partitions are assigned to this process")]
    note = (
        f"{_PARTITIONS} partitions, {_PER_RECORD / _TRICKLE_SECONDS:.0f} events/s each, load {os.getloadavg()[0]:.1f}"
    )
    stay = [grown.longest[number] for number in still.longest if number not in grown.moved]
    return [
        Result(name="nothing moves: longest time without a new version", value=max(still.longest.values()), unit="s"),
        Result(
            name="1 to 4 learners: the same, of shards that stay", value=max(stay, default=0.0), unit="s", note=note
        ),
        at_most(
            "1 to 4 learners: of those that move",
            max((grown.longest[one] for one in grown.moved), default=0.0),
            "s",
            1.0,
            note,
        ),
        at_most(
            "… from the revocation until the next owner has restored it, the slowest",
            max(handed, default=0.0),
            "s",
            1.0,
            note,
        ),
        Result(
            name="4 to 2 learners: of those whose learner is stopped",
            value=max((shrunk.longest[number] for number in shrunk.moved), default=0.0),
            unit="s",
            note=f"a session of {_SESSION_SECONDS:g} s is waited for: the learner might come back",
        ),
        at_most(
            "a learner is killed: from assignment until the standby goes on, the slowest shard",
            1e3 * max(taken, default=0.0),
            "ms",
            300,
            note,
        ),
        Result(
            name="a learner is killed: from its death to the assignment", value=min(assigned, default=0.0), unit="s"
        ),
        Result(
            name="a learner is killed: longest time without a new version",
            value=max((killed.longest[number] for number in killed.moved), default=0.0),
            unit="s",
            note=f"a session of {_SESSION_SECONDS:g} s",
        ),
    ]


def _handed_over(hosts: _Hosts) -> list[float]:
    """Seconds between the last revocation of each partition by the first host and its state at the next owner."""
    revoked = {
        number: _moment(one)
        for one in hosts.said("host-0", "partitions are revoked: they will be another process's")
        for number in one["partitions"]  # type: ignore[attr-defined]
    }
    restored = {
        int(str(one["model"]).rpartition("~")[2]): _moment(one)
        for name in [*hosts.processes]
        if name != "host-0"
        for one in hosts.said(name, "restored")
    }
    return [restored[number] - at for number, at in revoked.items() if restored.get(number, 0.0) > at]


def _from_assignment(hosts: _Hosts) -> list[float]:
    """Seconds between the assignment of each partition to the standby and its going on."""
    began = {
        number: _moment(one)
        for one in hosts.said("standby", "partitions are assigned to this process")
        for number in one["partitions"]  # type: ignore[attr-defined]
    }
    return [
        _moment(one) - began[int(str(one["model"]).rpartition("~")[2])] for one in hosts.said("standby", "goes on warm")
    ]


def _moment(line: dict[str, object]) -> float:
    return datetime.fromisoformat(str(line["timestamp"])).timestamp()


class _trickle:  # noqa: N801 - a context manager
    """A few events to every partition again and again."""

    def __init__(self, broker: Broker) -> None:
        self._log, self._stopping = open_log(f"kafka://{broker.servers}"), threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._log.close()

    def _run(self) -> None:
        (one,) = messages(_events(_PER_RECORD), _PER_RECORD)
        make: Callable[..., object] = type(one)
        while not self._stopping.wait(_TRICKLE_SECONDS):
            self._log.append("t", [make(one.value, _key(n), one.headers) for n in range(_PARTITIONS)])  # type: ignore[misc]


if __name__ == "__main__":
    show("take_over", run(Scale.asked()))
