"""The seam between processor and device: what comes there and back is what was sent, and it is counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.models.devices.stand_ins import REAL, Processor, gpu
from thalweg.memory.devices import device as module
from thalweg.memory.devices.device import COPIES, Device
from thalweg.memory.devices.failures import DeviceFailed

ARRAYS = [
    np.arange(1000.0),
    np.arange(999, dtype=np.float32).reshape(3, 333),
    np.arange(64, dtype=np.int64).reshape(4, 4, 4),
    np.arange(130) % 3 == 0,
    np.array(3.5),
    np.arange(24.0).reshape(4, 6).T,
    np.zeros((0, 5), dtype=np.float32),
]


class Ended:
    """An event of a copy: a buffer must not be filled before the last copy from it has ended."""

    def __init__(self) -> None:
        self.under_way = False

    def synchronize(self) -> None:
        self.under_way = False

    def record(self, stream: Any) -> None:
        assert not self.under_way, "recorded twice without a wait"
        self.under_way = True


@pytest.fixture
def staging(monkeypatch: pytest.MonkeyPatch) -> module._Staging:
    """Of two pieces of 96 bytes, in memory of the processor."""
    monkeypatch.setattr(module, "PIECE_BYTES", 96)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda where: None)
    made = module._Staging.__new__(module._Staging)
    made._where, made._next = torch.device("cpu"), 0
    made._buffers = [torch.empty(96, dtype=torch.uint8) for _ in range(2)]
    made._ended = [Ended(), Ended()]
    return made


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_an_array_in_pieces_is_that_array(array: np.ndarray, staging: module._Staging) -> None:
    array.flags.writeable = False

    for _ in range(2):
        found = staging.copied(np.asarray(array, order="C"))

        assert found.shape == array.shape
        np.testing.assert_array_equal(found.numpy(), array)


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_what_comes_back_is_what_was_sent(array: np.ndarray) -> None:
    device, before = Processor(), (COPIES.to, COPIES.back, COPIES.to_bytes, COPIES.back_bytes)

    found = device.fetch(device.put(array))

    np.testing.assert_array_equal(found, array)
    after = (COPIES.to, COPIES.back, COPIES.to_bytes, COPIES.back_bytes)
    assert tuple(b - a for a, b in zip(before, after)) == (1, 1, array.nbytes, array.nbytes)


def test_tensors_of_one_dtype_come_back_in_one_copy() -> None:
    device, before = Processor(), COPIES.back
    tensors = {
        "a": torch.arange(6.0).reshape(2, 3),
        "b": torch.tensor(7),
        "c": torch.tensor(2.5),
        "d": torch.arange(8.0).reshape(2, 4).T,
        "e": torch.zeros(0, 3),
    }

    found = device.fetch_all(tensors)

    assert COPIES.back - before == 2
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        assert found[name].shape == tuple(tensor.shape)
        np.testing.assert_array_equal(found[name], tensor.numpy())


def test_on_the_processor_nothing_is_copied_or_counted() -> None:
    device, array, before = Device(), np.arange(5.0), (COPIES.to, COPIES.back)

    tensor = device.put(array)

    assert np.shares_memory(device.fetch(tensor), array)
    assert np.shares_memory(device.fetch_all({"x": tensor})["x"], array)
    assert not np.shares_memory(device.fetch(device.keep(array)), array)
    assert (COPIES.to, COPIES.back) == before
    assert device.described() == ""


def test_what_a_model_keeps_is_bounded_by_its_budget() -> None:
    device = Processor(budget_bytes=1000)
    device.keep(np.zeros(100))
    with pytest.raises(DeviceFailed, match="cuda:0: the model needs 0 MB, device_bytes allows 0 MB"):
        device.zeros(60)

    device.reserve(-800)
    device.zeros(60)

    assert device.kept_bytes == 240


@pytest.mark.skipif(not REAL, reason="needs a GPU: make gpu")
def test_a_real_gpu_without_room_says_so_and_goes_on() -> None:
    device = gpu()
    room = torch.cuda.mem_get_info()[1]

    with pytest.raises(DeviceFailed, match=r"^cuda:0: CUDA out of memory"):
        device.zeros(room)  # four bytes each
    with pytest.raises(DeviceFailed, match=r"^expected cuda:0"):
        Device.open("cuda:9")

    np.testing.assert_array_equal(device.fetch(device.put(ARRAYS[0])), ARRAYS[0])
