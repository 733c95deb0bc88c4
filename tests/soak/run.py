"""The service under mixed load while faults are injected at random; afterwards everything must be exact.

    python -m tests.soak.run --minutes 120

The load: events one by one and in batches, a tenth of them redelivered, some late; records that cannot be decoded;
requests over gRPC, some of which wait for their label. For two thirds of the time processes, brokers and stores are
killed, stopped and started; in the last third the processes are left alive, so that a leak shows. Then the load ends,
and what is in the log is held against what was learned. Disk faults need root, for a small file system in memory.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.ops.running import WAIT, Service
from tests.services.kafka import Broker
from tests.services.processes import Unavailable, stop, until
from tests.services.redis import RedisServer
from tests.services.warm import Process
from tests.soak.load import Load
from tests.soak.mishaps import Mishaps
from tests.soak.resources import Resources, resources
from thalweg.stream.log.dead_letters import DeadLetters

STATE_MIB = 96
"""Size of the file system of the state folder."""

SETTLE_SECONDS = 20.0
"""How long a new process may take more and more: it imports, opens, and fills its buffers."""


@dataclass
class Verdict:
    """What a soak did and saw."""

    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    """Requests by status code."""
    figures: dict[str, int] = field(default_factory=dict)
    resources: dict[str, list[Resources]] = field(default_factory=dict)
    """By role, of the process that lived to the end, from when it had settled."""
    problems: list[str] = field(default_factory=list)
    """What is not as it must be; empty: everything was exact."""
    skipped: list[str] = field(default_factory=list)
    """Faults that could not be injected here, and why."""

    def show(self) -> None:
        """Print it."""
        print(f"soak of {self.seconds:.0f} s")
        for what, counts in (("faults", self.faults), ("answers", self.answers), ("figures", self.figures)):
            print(f"  {what}: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()))
        for role, found in self.resources.items():
            if found:
                first, last = found[0], found[-1]
                print(
                    f"  {role}: resident {first.resident_bytes >> 20} to {last.resident_bytes >> 20} MiB, "
                    f"files {first.files} to {last.files}, threads {first.threads} to {last.threads}"
                )
        for line in self.skipped:
            print(f"  not injected: {line}")
        print("  " + ("\n  ".join(self.problems) if self.problems else "everything exact"))


def soak(folder: Path, seconds: float, seed: int, *, services: bool, cold: bool = True) -> Verdict:
    """Run it.

    Args:
        folder: Empty; holds log, state and output.
        seconds: How long the load lasts.
        seed: Of load and faults.
        services: Whether to use Kafka and Redis where they can be had; else what is embedded.
        cold: Whether processes are started as a user starts them, not forked from what has imported everything.
    """
    verdict = Verdict()
    with ExitStack() as stack:
        broker, redis = _services(folder, stack, verdict) if services else (None, None)
        (folder / "state").mkdir()
        disk = _small_disk(folder / "state", stack, verdict)
        topic = f"m-{seed}"
        running = Service(
            folder,
            None if broker is None else f"kafka://{broker.servers}",
            topic,
            store=None if redis is None else redis.url,
            model=f'labels_topic = "{topic}.labels"\nlabel_seconds = 3600\n',
        )
        stack.callback(running.close)
        text = running.path.read_text()
        text = text.replace("snapshot_events = 60", "snapshot_events = 500").replace("kept = 1000", "kept = 10")
        running.path.write_text(text)
        supervisor = running.start(cold=cold)
        load = Load(running, seed)
        mishaps = Mishaps(running, seed, supervisor, broker=broker, redis=redis, disk=disk, cold=cold)
        until("readiness", running.ready)
        _under_load(load, mishaps, verdict, seconds)
        mishaps.heal()
        load.finish()
        verdict.faults, verdict.answers = mishaps.counts, load.answers
        _check(running, load, mishaps.supervisor, verdict)
    return verdict


def _services(folder: Path, stack: ExitStack, verdict: Verdict) -> tuple[Broker | None, RedisServer | None]:
    broker: Broker | None = None
    redis: RedisServer | None = None
    try:
        (folder / "kafka").mkdir()
        broker = Broker(folder / "kafka")
        broker.start()
        stack.callback(broker.close)
    except Unavailable as error:
        verdict.skipped.append(f"broker stopped and started: {error}")
    try:
        redis = RedisServer(folder)
        redis.start()
        stack.callback(redis.stop)
    except Unavailable as error:
        verdict.skipped.append(f"Redis restarted: {error}")
    return broker, redis


def _small_disk(place: Path, stack: ExitStack, verdict: Verdict) -> Path | None:
    """A small file system at the place of the state folder, where it can be mounted."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={STATE_MIB}m", "thalweg-soak", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        why = getattr(error, "stderr", "") or str(error)
        verdict.skipped.append(f"a full disk: cannot mount a small file system: {why.strip()}")
        return None
    stack.callback(subprocess.run, ["umount", "-l", str(place)], check=False)
    return place


def _under_load(load: Load, mishaps: Mishaps, verdict: Verdict, seconds: float) -> None:
    began = time.monotonic()
    calm = began + seconds * 2 / 3
    watched = {role: _Watched() for role in ("server", "learner")}
    with load.asking():
        while (now := time.monotonic()) < began + seconds:
            load.turn()
            mishaps.turn(killing=now < calm, left_seconds=began + seconds - now)
            for role, one in watched.items():
                one.look(mishaps.running.pid(role), now)
    verdict.seconds = time.monotonic() - began
    verdict.resources = {role: one.found for role, one in watched.items()}


class _Watched:
    """What the newest process of a role takes, from `SETTLE_SECONDS` after it was first seen."""

    def __init__(self) -> None:
        self.found: list[Resources] = []
        self._pid: int | None = None
        self._since = 0.0

    def look(self, pid: int | None, now: float) -> None:
        if pid != self._pid:
            self._pid, self._since, self.found = pid, now, []
        if pid is not None and now >= self._since + SETTLE_SECONDS and (taken := resources(pid)) is not None:
            self.found.append(taken)


def _check(running: Service, load: Load, supervisor: Process, verdict: Verdict) -> None:
    """Hold what was learned against what is in the log."""
    if supervisor.poll() is not None:
        verdict.problems.append(f"the service has ended with {supervisor.poll()}: …{running.text()[-2000:]}")
        return
    try:
        until("all labels to be read", lambda: running.metric("kafka_consumergroup_lag", **load.labels) == 0)
    except AssertionError as error:
        verdict.problems.append(str(error))
    joined = len(load.joined_ids())
    wanted = len(load.sent_ids) + joined
    figures, problems = verdict.figures, verdict.problems
    try:
        until(f"{wanted} events to be learned", lambda: running.learned() >= wanted, seconds=max(60.0, WAIT))
    except AssertionError as error:
        problems.append(f"{error}: {running.learned()} are")
    if code := stop(supervisor, WAIT):
        problems.append(f"the service ended with {code}")
    kept = running.snapshots().manifests()
    learned = kept[-1].events_learned if kept else 0
    joined = len(load.joined_ids(kept[-1].offsets if kept else {}))  # a label may have been joined since
    wanted = len(load.sent_ids) + joined
    figures |= {"events": len(load.sent_ids), "redelivered": load.redelivered, "joined": joined, "learned": learned}
    if learned != wanted:
        problems.append(f"{learned} events in the last snapshot, expected {wanted}: each once")
    letters = [letter.value for letter in DeadLetters(running.log, running.topic).newest(1_000_000)]
    figures |= {"poison": len(load.poison), "dead letters": len(letters)}
    if set(letters) != load.poison:
        lost, more = load.poison - set(letters), set(letters) - load.poison
        problems.append(f"dead letters differ: {len(lost)} missing, {len(more)} unexpected: {list(more)[:3]}")
    command = [sys.executable, "-m", "thalweg.ops.cli", "snapshot", "verify", str(running.path), "--model", "m"]
    verified = subprocess.run([*command, "--replay"], capture_output=True, text=True, timeout=3600)
    if verified.returncode:
        problems.append(f"snapshot verify --replay: {verified.stdout[-500:]}{verified.stderr[-500:]}")
    if bugs := {code: count for code, count in verdict.answers.items() if code in ("INTERNAL", "UNKNOWN")}:
        problems.append(f"undeclared errors: {bugs}")
    if load.backwards:
        problems.append(f"versions went back {len(load.backwards)} times: {load.backwards[:3]}")
    problems += [line for role, found in verdict.resources.items() for line in _leaks(role, found)]
    if "Traceback" in running.text():
        place = running.text().index("Traceback")
        problems.append(f"a traceback in the output: …{running.text()[max(0, place - 300) : place + 1500]}")


def _leaks(role: str, found: list[Resources]) -> Iterator[str]:
    """What grew, and went on growing: the lowest of the last third against that of the first and that of the second; of
    open files also the highest, because an outage must leave none behind. Connections that are opened when they are
    first needed grow once.
    """
    third = len(found) // 3
    if not third:
        return
    parts = (found[:third], found[third : 2 * third], found[-third:])
    for what, spare in (("files", 8), ("threads", 8), ("resident_bytes", 32 << 20)):
        before, between, after = (min(getattr(one, what) for one in part) for part in parts)
        if after > before + spare and after > between + spare // 4:
            yield f"{role}: {what} grew from {before} over {between} to {after}"
    before, between, after = (max(one.files for one in part) for part in parts)
    if after > before + 24 and after > between + 6:  # an outage while it is counted has connections in the making
        yield f"{role}: the most open files grew from {before} over {between} to {after}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--embedded", action="store_true", help="without Kafka and Redis")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        verdict = soak(Path(folder), options.minutes * 60, options.seed, services=not options.embedded)
    verdict.show()
    return 1 if verdict.problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
