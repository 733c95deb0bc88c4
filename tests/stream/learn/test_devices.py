"""A device that fails is no event's fault: nothing is skipped, and the model goes on from what is saved."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.models.devices.stand_ins import KIND
from tests.stream.chain import Chain
from tests.stream.learn.test_processor import SETTINGS, Watcher, event, log_of
from thalweg.memory.devices.failures import DeviceFailed
from thalweg.memory.snapshots.snapshots import InMemorySnapshots
from thalweg.proto.event import Batch
from thalweg.stream.journal.journal import InMemoryJournal
from thalweg.stream.learn.ports import Ports
from thalweg.stream.learn.processor import Processor


class OnGpu(Chain):
    """A chain on a GPU, which has no room when this event comes; 0: it always has."""

    def __init__(self, full_at: int = 0, kind: str = KIND) -> None:
        super().__init__()
        self._full_at, self.computed_on = full_at, kind

    def learn(self, batch: Batch) -> None:
        if self._full_at and self._full_at in batch.inputs["features"][:, 0]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee documentation")
        super().learn(batch)


def processor(learner: Chain, snapshots: InMemorySnapshots, journal: InMemoryJournal, **more: Any) -> Processor:
    return Processor(learner, log_of(30), snapshots, SETTINGS, journal=journal, **more)


def test_events_that_were_learned_when_a_gpu_failed_are_learned_when_it_is_back() -> None:
    snapshots, journal, watcher = InMemorySnapshots(), InMemoryJournal(), Watcher()
    with pytest.raises(DeviceFailed, match=r"^CUDA out of memory. Tried to allocate 2.00 GiB.$"):
        processor(OnGpu(full_at=22), snapshots, journal).run(until_end=True)
    assert [entry for entry in journal.entries(0) if getattr(entry, "skipped", ())] == []

    again = OnGpu()
    processor(again, snapshots, journal, ports=Ports(observer=watcher)).run(until_end=True)

    whole = Chain()
    processor(whole, InMemorySnapshots(), InMemoryJournal()).run(until_end=True)
    assert again.state().sha256() == whole.state().sha256()
    assert [entry for entry in journal.entries(0) if getattr(entry, "skipped", ())] == []


def test_a_manifest_says_on_what_a_state_was_computed_and_what_it_comes_from() -> None:
    snapshots, journal, log = InMemorySnapshots(), InMemoryJournal(), log_of(30)
    Processor(OnGpu(), log, snapshots, SETTINGS, journal=journal).run(until_end=True)
    made = snapshots.manifests()[-1].software
    assert (made["device"], made.get("devices_before")) == (KIND, None)

    log.append("t", [event(i) for i in range(30, 35)])
    Processor(Chain(), log, snapshots, SETTINGS, journal=journal).run(until_end=True)

    gone_on = snapshots.manifests()[-1]
    assert gone_on.events_learned == 35
    assert (gone_on.software.get("device"), gone_on.software["devices_before"]) == (None, KIND)


def test_a_state_of_the_processor_says_nothing_of_devices() -> None:
    snapshots = InMemorySnapshots()

    processor(Chain(), snapshots, InMemoryJournal()).run(until_end=True)

    assert not {"device", "devices_before"} & snapshots.manifests()[-1].software.keys()
