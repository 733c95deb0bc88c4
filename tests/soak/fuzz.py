"""Fuzzed records through decoder, dead letters and learner; fuzzed requests against a server; what became of them.

python -m tests.soak.fuzz --records 1000000 --requests 100000 --seconds 3600
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
import numpy as np
from google.protobuf import text_format
from google.protobuf.message import DecodeError

from tests.ops.running import service, until
from tests.samples import FEATURES, sample
from tests.soak.mutations import Records, Requests
from tests.soak.resources import resident_bytes
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.ops.config.config import load
from thalweg.ops.run.app import new_learner, new_monitor, settings_of
from thalweg.proto import inference_pb2 as pb
from thalweg.proto.decode import CONTENT_TYPE_EVENT_BATCH, Decoder
from thalweg.stream.learn.blocks import DecodedBlock
from thalweg.stream.learn.fold import Fold
from thalweg.stream.log.dead_letters import DeadLetters
from thalweg.stream.log.in_memory import InMemoryLog

LEARNERS = ("ridge", "error_memory", "prompt_tpp")
"""Between them every kind of input and label."""
_RUN = 200
_BUGS = {"INTERNAL", "UNKNOWN"}
_SLOW_SECONDS = 0.9
"""A request that takes longer is told with its parameters."""


@dataclass
class Seen:
    """What became of fuzzed records or requests."""

    tried: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    """How often each: taken, or the reason or code of a refusal."""
    errors: list[str] = field(default_factory=list)
    """Undeclared ones, each with what brings it about again."""
    slow: list[str] = field(default_factory=list)
    """Requests that took long, each with its parameters."""
    slowest_seconds: float = 0.0
    """Of one block of records, or one request."""
    resident_bytes: list[int] = field(default_factory=list)
    """From time to time, from when a fifth was tried on."""

    @property
    def growth_bytes(self) -> int:
        """How much more is resident at the end than after the first fifth."""
        return self.resident_bytes[-1] - self.resident_bytes[0] if self.resident_bytes else 0


class _Model:
    """One learner behind its decoder, as the loop runs them, but for the log and the journal."""

    def __init__(self, name: str, seed: int, folder: Path) -> None:
        path = folder / f"{name}.toml"
        path.write_text(f'[[model]]\nname = "m"\ntopic = "t"\n{sample(name).configuration}')
        model = load(path, {}).find("m")
        learner = new_learner(model)
        self.name, self.learner = name, learner
        self.fold = Fold(learner, InMemorySnapshots(), settings_of(model, 64 << 20), new_monitor(model, learner))
        self.decoder = Decoder(learner.schema, max_future_seconds=3600.0)
        self.records = Records(name, seed)

    def take(self, seen: Seen) -> None:
        """Try one block; every record of it must be taken or kept as a dead letter, byte for byte."""
        log = InMemoryLog()
        run = self.records.take(_RUN)
        log.append("t", run)
        (block,) = log.reader(["t"], {}).poll(0.0)
        part = self.decoder.decode(block)
        letters = DeadLetters(log, "t", "m")
        letters.send(block, part.rejected)
        kept = sorted(letter.value or b"" for letter in letters.newest(10 * _RUN))
        assert kept == sorted(run[one.row].value or b"" for one in part.rejected), "dead letters differ"
        taken = set() if part.batch.places is None else set(part.batch.places.offsets.tolist())
        lost = set(range(_RUN)) - taken - {one.row for one in part.rejected}
        empty = [row for row in lost if run[row].headers != (("content-type", CONTENT_TYPE_EVENT_BATCH),)]
        assert not empty, f"records {empty[:3]} are neither taken nor rejected"  # but for a batch of no events
        self.fold.apply(DecodedBlock(self.fold.version + 1, 16, [part], {}))
        seen.outcomes["taken"] += len(taken)
        seen.outcomes.update(one.reason for one in part.rejected)

    def sound(self) -> None:
        """Whatever was learned, the state is finite and the model answers."""
        floats = [array for array in self.learner.state().tensors.values() if array.dtype.kind == "f"]
        assert not any(np.isnan(array).any() for array in floats), f"{self.name}: NaN in the state"


def fuzz_records(count: int, seed: int, *, until_time: float = float("inf")) -> Seen:
    """Try so many records, or until this time of the monotonic clock."""
    seen = Seen()
    with tempfile.TemporaryDirectory() as folder:
        models = [_Model(name, seed, Path(folder)) for name in LEARNERS]
        while seen.tried < count and time.monotonic() < until_time:
            model = models[seen.tried // _RUN % len(models)]
            began = time.monotonic()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    model.take(seen)
            except Exception as error:
                seen.errors.append(f"{model.name}, seed {seed}, record {seen.tried} or later: {error!r}")
            seen.slowest_seconds = max(seen.slowest_seconds, time.monotonic() - began)
            seen.tried += _RUN
            if seen.tried >= count // 5 and seen.tried % (50 * _RUN) == 0:
                seen.resident_bytes.append(resident_bytes(os.getpid()))
        for model in models:
            model.sound()
    return seen


def fuzz_requests(
    http: str, channel: grpc.Channel, pid: int, count: int, seed: int, *, until_time: float = float("inf")
) -> Seen:
    """Send so many requests in turn by REST and gRPC to the model `m`; `pid` is the server's."""
    seen, requests = Seen(), Requests("m", FEATURES, seed)
    infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    with httpx.Client(base_url=http, timeout=60) as client:

        def by_rest(body: bytes) -> str:
            answer = client.post("/v2/models/m/infer", content=body)
            return str(answer.status_code)

        def by_grpc(message: bytes) -> str:
            try:
                infer(message, timeout=60, wait_for_ready=True)
            except grpc.RpcError as error:
                return str(error.code().name)
            return "OK"

        while seen.tried < count and time.monotonic() < until_time:
            if seen.tried % 2:
                _ask(by_rest, requests.body(), _parameters_of_body, seed, seen)
            else:
                _ask(by_grpc, requests.message(), _parameters_of_message, seed, seen)
            if seen.tried >= count // 5 and seen.tried % 500 == 0:
                seen.resident_bytes.append(resident_bytes(pid))
    return seen


def _ask(ask: Callable[[bytes], str], request: bytes, told: Callable[[bytes], str], seed: int, seen: Seen) -> None:
    began = time.monotonic()
    try:
        code = ask(request)
    except Exception as error:
        code = type(error).__name__
        seen.errors.append(f"request {seen.tried} of seed {seed}: {error!r}")
    if code in _BUGS or code == "500":
        seen.errors.append(f"request {seen.tried} of seed {seed}: {code}")
    seconds = time.monotonic() - began
    if seconds > _SLOW_SECONDS:
        seen.slow.append(f"request {seen.tried} of seed {seed}: {seconds:.1f} s, {code}, parameters {told(request)}")
    seen.slowest_seconds = max(seen.slowest_seconds, seconds)
    seen.outcomes[code] += 1
    seen.tried += 1


def _parameters_of_body(body: bytes) -> str:
    try:
        return str(json.loads(body).get("parameters", {}))
    except (ValueError, AttributeError):
        return f"of a body that is no object: {body[:200]!r}"


def _parameters_of_message(message: bytes) -> str:
    try:
        request = pb.ModelInferRequest.FromString(message)
    except DecodeError:
        return f"of a message that cannot be read: {message[:200]!r}"
    return str(
        {name: text_format.MessageToString(value, as_one_line=True) for name, value in request.parameters.items()}
    )


def show(what: str, seen: Seen, seconds: float) -> None:
    print(f"{what}: {seen.tried:,} in {seconds:.0f} s; undeclared errors: {len(seen.errors)}; slowest of ", end="")
    print(f"{'a block' if 'records' in what else 'one'}: {seen.slowest_seconds:.2f} s; ", end="")
    print(f"resident memory {seen.growth_bytes / 2**20:+.1f} MiB after the first fifth")
    print("  " + ", ".join(f"{name} {times:,}" for name, times in seen.outcomes.most_common()))
    for line in (*seen.errors[:20], *seen.slow[:20]):
        print(f"  {line}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=7200.0, help="stop earlier, after this long for each of both")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began = time.monotonic()
    records = fuzz_records(options.records, options.seed, until_time=began + options.seconds)
    show("fuzzed records", records, time.monotonic() - began)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        running = stack.enter_context(service(Path(folder)))
        running.start(cold=True)
        until("readiness", running.ready)
        running.send(100)
        until("something to be learned", lambda: running.learned() == 100)
        channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{running.ports['grpc']}"))
        pid = until("a server", lambda: running.pid("server"))
        http, began = f"http://127.0.0.1:{running.ports['http']}", time.monotonic()
        requests = fuzz_requests(http, channel, pid, options.requests, options.seed, until_time=began + options.seconds)
        show("fuzzed requests", requests, time.monotonic() - began)
        assert running.pid("server") == pid, "the server was restarted"
    return 1 if records.errors or requests.errors else 0


if __name__ == "__main__":
    raise SystemExit(main())
