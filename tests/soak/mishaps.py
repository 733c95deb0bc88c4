"""Faults for a soak, drawn at random: each begins, and ends by itself after some seconds."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.ops.running import Service
from tests.services.kafka import Broker
from tests.services.redis import RedisServer
from tests.services.warm import Process

PAUSE_SECONDS = (1.0, 6.0)
"""Between the end of one fault and the beginning of the next."""


class Mishaps:
    """Injects faults into a service, one at a time, from the caller's thread.

    Args:
        running: The service.
        seed: Decides which fault comes when.
        supervisor: Its process.
        broker: Its Kafka, if it has one; likewise `redis`.
        disk: The file system of its state folder, if it has one of its own.
        cold: Whether it is started as a user starts it, not forked from what has imported everything.
    """

    def __init__(
        self,
        running: Service,
        seed: int,
        supervisor: Process,
        *,
        broker: Broker | None,
        redis: RedisServer | None,
        disk: Path | None,
        cold: bool,
    ) -> None:
        self.running = running
        self.supervisor = supervisor
        self.counts: Counter[str] = Counter()
        self._chance = random.Random(seed + 1)
        self._cold = cold
        self._broker, self._redis, self._disk = broker, redis, disk
        self._next = time.monotonic() + 1.0
        self._ends: Callable[[], None] | None = None
        killing = {
            "learner killed": self._kill_learner,
            "server killed": self._kill_server,
            "supervisor killed": self._kill_supervisor,
            "service restarted": self._restart,
        }
        calm = {
            "learner stopped": lambda: self._freeze("learner"),
            "server stopped": lambda: self._freeze("server"),
            "live folder emptied": self._empty_live,
        }
        if broker is not None:
            calm["broker stopped"] = self._stop_broker
        if redis is not None:
            calm["Redis restarted"] = self._restart_redis
        if disk is not None:
            calm["disk full"] = self._fill_disk
        self._calm, self._all = calm, {**killing, **calm}

    def turn(self, *, killing: bool, left_seconds: float) -> None:
        """Begin or end a fault if it is time.

        Args:
            killing: Whether processes may be killed.
            left_seconds: Of the load; no fault begins shortly before its end.
        """
        if time.monotonic() < self._next:
            return
        if self._ends is not None:
            self.heal()
        elif left_seconds > 3.0:
            faults = self._all if killing else self._calm
            name = self._chance.choice(sorted(faults))
            self.counts[name] += 1
            lasting = faults[name]()
            self._ends, self._next = (None, self._later()) if lasting is None else lasting

    def heal(self) -> None:
        """End the fault in force."""
        ends, self._ends = self._ends, None
        if ends is not None:
            ends()
        self._next = self._later()

    def _later(self) -> float:
        return time.monotonic() + self._chance.uniform(*PAUSE_SECONDS)

    def _for_seconds(self, ends: Callable[[], None], least: float, most: float) -> tuple[Callable[[], None], float]:
        return ends, time.monotonic() + self._chance.uniform(least, most)

    def _kill_learner(self) -> None:
        self._signal("learner", signal.SIGKILL)

    def _kill_server(self) -> None:
        self._signal("server", signal.SIGKILL)

    def _kill_supervisor(self) -> None:
        self.supervisor.kill()
        self.supervisor.wait()
        self._start()

    def _restart(self) -> None:
        self.supervisor.terminate()
        self.supervisor.wait(240)
        self._start()

    def _start(self) -> None:
        self.supervisor = self.running.start(cold=self._cold)

    def _freeze(self, role: str) -> tuple[Callable[[], None], float] | None:
        pid = self._signal(role, signal.SIGSTOP)
        return None if pid is None else self._for_seconds(lambda: _send(pid, signal.SIGCONT), 0.5, 4.0)

    def _empty_live(self) -> None:
        for path in (self.running.folder / "state" / "live").glob("m/*"):
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _stop_broker(self) -> tuple[Callable[[], None], float]:
        assert self._broker is not None
        self._chance.choice([self._broker.stop, self._broker.kill])()
        return self._for_seconds(self._broker.start, 1.0, 10.0)

    def _restart_redis(self) -> tuple[Callable[[], None], float]:
        assert self._redis is not None
        self._redis.stop()
        return self._for_seconds(self._redis.start, 0.5, 5.0)

    def _fill_disk(self) -> tuple[Callable[[], None], float]:
        assert self._disk is not None
        filler = self._disk / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(1 << 20)):
                pass
        return self._for_seconds(filler.unlink, 1.0, 8.0)

    def _signal(self, role: str, number: int) -> int | None:
        pid = self.running.pid(role)
        if pid is None or not self._ours(pid):  # it has ended, and its number may be another's by now
            return None
        _send(pid, number)
        return pid

    def _ours(self, pid: int) -> bool:
        """Whether it is a child of the supervisor."""
        try:
            return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) == self.supervisor.pid
        except OSError:
            return False


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
