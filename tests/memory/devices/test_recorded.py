"""A pass is recorded once for all versions, and what is replayed is what the version that asks would compute."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.models.devices.stand_ins import Processor, gpu
from thalweg.memory.devices.device import Device
from thalweg.memory.devices.recorded import recorded

SHAPE = (8, 5)


def run(module: torch.nn.Module, batch: Tensor) -> tuple[Tensor, ...]:
    return module(batch), batch.sum(1)


def version(seed: int, device: Device) -> torch.nn.Module:
    torch.manual_seed(seed)
    layers = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.BatchNorm1d(7), torch.nn.ReLU(), torch.nn.Linear(7, 3))
    layers[1].running_mean += seed  # type: ignore[operator]
    return device.upload(layers.eval())


def batch(seed: int, device: Device) -> Tensor:
    return device.put(np.random.default_rng(seed).random(SHAPE, dtype=np.float32))


def test_each_version_gets_what_its_own_weights_give() -> None:
    device = gpu()
    versions = [version(seed, device) for seed in range(3)]
    records = [recorded("one", device, each, run, SHAPE) for each in versions]
    record = records[0]

    assert record is not None
    assert all(each is record for each in records)
    for number in (0, 1, 2, 0, 0, 2):
        with device.apart(), torch.no_grad():
            x = batch(number, device)
            found, sums = record(versions[number], x)
            wanted = versions[number](x)
            assert torch.equal(found, wanted)
            assert torch.equal(sums, x.sum(1))


def test_an_answer_stays_what_it_was_while_others_are_computed() -> None:
    device = gpu()
    one = version(1, device)
    record = recorded("one", device, one, run, SHAPE)
    assert record is not None
    with device.apart():
        kept = record(one, batch(1, device))[0]
        before = device.fetch(kept).copy()
        record(one, batch(2, device))

        np.testing.assert_array_equal(device.fetch(kept), before)


def test_threads_that_ask_at_once_get_their_own_answers() -> None:
    device = gpu()
    versions = [version(seed, device) for seed in range(4)]
    record = recorded("one", device, versions[0], run, SHAPE)
    assert record is not None
    wrong: list[int] = []

    def ask(number: int) -> None:
        for turn in range(20):
            with device.apart(), torch.no_grad():
                x = batch(100 * number + turn, device)
                found = device.fetch(record(versions[number], x)[0])
                if not np.array_equal(found, device.fetch(versions[number](x))):
                    wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert not wrong


def test_another_key_is_recorded_anew_and_another_device_for_itself() -> None:
    device, other = gpu(), gpu()
    one = version(1, device)
    record = recorded("one", device, one, run, SHAPE)

    assert recorded("other", device, one, run, SHAPE) is not record
    assert recorded("one", other, version(1, other), run, SHAPE) is not record


@pytest.mark.parametrize(
    "refused",
    [
        pytest.param(lambda module, x: (module(x) * float(x.sum().cpu()),), id="reads a number back"),
        pytest.param(lambda module, x: 1 / 0, id="fails"),
    ],
)
def test_a_pass_that_cannot_be_recorded_is_left_as_it_is(refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    device = gpu()
    one, asked = version(1, device), [0]

    def counted(module: torch.nn.Module, x: Tensor) -> Any:
        asked[0] += 1
        if isinstance(device, Processor):  # which can record whatever it can compute
            raise RuntimeError("operation not permitted when stream is capturing")
        return refused(module, x)

    assert recorded("one", device, one, counted, SHAPE) is None
    times = asked[0]
    assert recorded("one", device, version(2, device), counted, SHAPE) is None

    assert asked[0] == times, "tried again for the next version"
    with device.apart(), torch.no_grad():  # the device works on
        assert torch.isfinite(device.put(device.fetch(one(batch(1, device))))).all()
    assert recorded("two", device, one, run, SHAPE) is not None


def test_a_pass_that_draws_is_not_replayed() -> None:
    device = gpu()
    if isinstance(device, Processor):
        pytest.skip("what stands in for a GPU compares nothing: it computes the pass again")

    def drawing(module: torch.nn.Module, x: Tensor) -> tuple[Tensor, ...]:
        return (module(x) + torch.rand(1, device=x.device),)

    assert recorded("one", device, version(1, device), drawing, SHAPE) is None


def test_with_the_processor_nothing_is_recorded() -> None:
    assert recorded("one", Device(), version(1, Device()), run, SHAPE) is None
