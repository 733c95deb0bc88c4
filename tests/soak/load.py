"""Load for a soak: events, redelivered and late ones, records that cannot be decoded, requests and their labels."""

from __future__ import annotations

import json
import random
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import numpy as np

from tests.ops.running import Service
from tests.samples import FEATURES, sample
from thalweg.ops.cli.produce import messages
from thalweg.proto import inference_pb2 as pb
from thalweg.proto import inference_pb2_grpc, thalweg_pb2
from thalweg.proto.records import Position
from thalweg.stream.log.log import LogError, Message

EVENTS_A_SECOND = 150
TURN_SECONDS = 0.2
MOST_HELD = 20
"""Parts that come late at the same time: half a minute of them. A part may have been redelivered before it comes, and
must be recognised: it must not come later than the model's window of ids (`dedup_events`) reaches."""


class Load:
    """Sends to one service from the caller's thread, `turn` by `turn`, and asks it from a thread of its own."""

    def __init__(self, running: Service, seed: int) -> None:
        self.running = running
        self._chance = random.Random(seed)
        self.sent_ids: set[str] = set()
        """Of the events that the log has acknowledged."""
        self.redelivered = 0
        self.poison: set[bytes | None] = set()
        self.answers: Counter[str] = Counter()
        self.backwards: list[tuple[int, int]] = []
        """Versions that were answered after a newer one."""
        self.labels = {"consumergroup": "thalweg.m.joiner", "topic": f"{running.topic}.labels"}
        """Whose lag is that of the labels."""
        self._next = 0
        self._unsent: list[tuple[str, list[Message], list[str]]] = []
        """What the log has not acknowledged yet: topic, records, ids."""
        self._held: list[tuple[str, list[Message], list[str]]] = []
        """What comes late."""
        self._recent: list[tuple[list[Message], list[str]]] = []
        self._asked: list[str] = []
        self._stop = threading.Event()

    def turn(self) -> None:
        """Send what is due, and wait until the next turn."""
        began = time.monotonic()
        self._make()
        self._send()
        time.sleep(max(0.0, TURN_SECONDS - (time.monotonic() - began)))

    def finish(self) -> None:
        """Send all that is left; returns when the log has acknowledged it."""
        self._unsent += self._held
        self._held = []
        deadline = time.monotonic() + 240
        while self._unsent:
            self._send()
            assert time.monotonic() < deadline, "the log takes no records"

    def joined_ids(self, until: Position | None = None) -> set[str]:
        """Of the events in the topic of joined events; only of those up to a position, where it is given."""
        topic, found = "m.joined", set()
        bounds = self.running.log.bounds(topic)
        reader, count = self.running.log.reader([topic], {}), sum(end - first for first, end in bounds.values())
        while count > 0:
            for run in reader.poll(1.0):
                count -= len(run)
                end = len(run) if until is None else bisect_right(run.offsets, until.get(run.partition, -1))
                found |= {thalweg_pb2.Event.FromString(value).id for value in run.values[:end] if value}
        reader.close()
        return found

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Requests are made within the block."""
        thread = threading.Thread(target=self._ask, name="asking")
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _make(self) -> None:
        chance, topic = self._chance, self.running.topic
        left = int(EVENTS_A_SECOND * TURN_SECONDS)
        while left > 0:
            count = min(left, chance.randint(1, 20))
            left -= count
            batch = sample("ridge").events(count, self._next)
            part = messages(batch, chance.choice([1, 10])), [f"e{self._next + row}" for row in range(count)]
            self._next += count
            (self._held if chance.random() < 0.05 else self._unsent).append((topic, *part))
            self._recent = [*self._recent[-50:], part]
        if chance.random() < 0.5:
            again, ids = chance.choice(self._recent)
            self.redelivered += len(ids)
            self._unsent.append((topic, again, ids))
        if self._held and (chance.random() < 0.1 or len(self._held) > MOST_HELD):
            self._unsent.append(self._held.pop(0))
        if chance.random() < 0.3:
            bad = b'{"inputs": %d' % self._next
            self.poison.add(bad)
            self._unsent.append((topic, [Message(bad)], []))
        while self._asked and chance.random() < 0.7:
            label = json.dumps({"id": self._asked.pop(0), "label": chance.choice("abc")}).encode()
            self._unsent.append((f"{topic}.labels", [Message(label)], []))

    def _send(self) -> None:
        """Append what is unsent; what fails is sent again with the same ids, for nobody knows whether it was taken."""
        while self._unsent:
            topic, records, ids = self._unsent[0]
            try:
                self.running.log.append(topic, records)
            except LogError:
                return
            self.sent_ids |= set(ids)
            self._unsent.pop(0)

    def _ask(self) -> None:
        number = version = 0
        with grpc.insecure_channel(f"127.0.0.1:{self.running.ports['grpc']}") as channel:
            stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
            while not self._stop.wait(0.02):
                request = pb.ModelInferRequest(model_name="m")
                request.inputs.add(name="features", datatype="FP32", shape=[1, FEATURES])
                request.raw_input_contents.append(np.eye(FEATURES, dtype=np.float32)[number % FEATURES].tobytes())
                number += 1
                if number % 10 == 0:
                    request.parameters["event_id"].string_param = f"q{number}"
                try:
                    answer = stub.ModelInfer(request, timeout=30)
                except grpc.RpcError as error:
                    self.answers[error.code().name] += 1
                    continue
                self.answers["OK"] += 1
                now = answer.parameters["state_version"].int64_param
                if now < version:
                    self.backwards.append((version, now))
                version = now
                if number % 10 == 0:
                    self._asked.append(f"q{number}")
