"""A GPU that is gone, or full: the models on it wait and say why, the others go on, and no event is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.memory.devices.gpus import pretend
from tests.models.devices.stand_ins import KIND, Processor, instead_of_a_gpu
from tests.ops.run.test_learning import configuration, learner, learning, saved
from tests.samples import events
from tests.services.processes import until
from thalweg.memory.snapshots.snapshots import FolderSnapshots
from thalweg.ops.cli.produce import messages
from thalweg.ops.config.config import Config, load
from thalweg.ops.run.serving import location_of
from thalweg.proto.schema import Array
from thalweg.stream.log.dead_letters import dead_letters_of
from thalweg.stream.log.in_memory import InMemoryLog


def two_models(folder: Path) -> Config:
    """One with the processor, one on a GPU, in a process of a service that was started when there was one."""
    configuration(folder, a='learner = "ridge"', b='learner = "ridge"')
    path = folder / "thalweg.toml"
    path.write_text(path.read_text() + 'device = "cuda"\n')
    return load(path, {}, devices=False)


def dead_letters(log: InMemoryLog) -> int:
    return sum(end - first for first, end in log.bounds(dead_letters_of("t")).values())


@pytest.mark.slow
def test_a_model_whose_gpu_is_gone_waits_for_it_while_the_other_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, 0)
    config, log = two_models(tmp_path), InMemoryLog()
    log.append("t", messages(events(20), 1))
    with learning(config, log) as (running, registry):
        until("it to be tried again", lambda: learner(registry, "b").restarts >= 2)
        until("the other to learn", lambda: saved(config, "a") == 20)
        b = learner(registry, "b")
        assert not b.well
        assert "'cuda:0' needs a GPU and its driver" in b.reason
        assert running.refused is None

        with instead_of_a_gpu(Processor):  # it is back
            until("it to learn", lambda: saved(config, "b") == 20)

    made = FolderSnapshots(tmp_path / "state" / "b").manifests()[-1]
    assert made.software["device"] == KIND


class Full(Processor):
    """A GPU that has no room for some copies, and then has."""

    refuses = 0

    def _copied(self, array: Array) -> Tensor:
        if type(self).refuses:
            type(self).refuses -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nhint")
        return super()._copied(array)


@pytest.mark.slow
def test_a_model_whose_gpu_is_full_learns_every_event_when_there_is_room_again(tmp_path: Path) -> None:
    config, log = two_models(tmp_path), InMemoryLog()
    log.append("t", messages(events(20), 1))
    with instead_of_a_gpu(Full), learning(config, log) as (_, registry):
        until("both to learn", lambda: (saved(config, "a"), saved(config, "b")) == (20, 20))
        Full.refuses = 3
        log.append("t", messages(events(20, 20), 1))
        until("it to fail and go on", lambda: saved(config, "b") == 40)
        assert Full.refuses == 0
        a, b = learner(registry, "a"), learner(registry, "b")
        until("the other to learn on", lambda: saved(config, "a") == 40)

    assert (a.restarts, b.restarts >= 1) == (0, True)
    assert dead_letters(log) == 0, "no event is at fault"


def test_a_server_describes_its_models_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 0)
    config = two_models(tmp_path)

    found = location_of(config, config.find("b"), tmp_path)

    assert found.schema.inputs
