"""Names of devices, and why one cannot be used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.memory.devices.gpus import pretend
from thalweg.memory.devices import names
from thalweg.memory.devices.device import Device
from thalweg.memory.devices.failures import DeviceFailed


@pytest.mark.parametrize(
    ("name", "count", "built", "why"),
    [
        ("cpu", 0, None, ""),
        ("cuda", 1, "13.0", ""),
        ("cuda:0", 1, "13.0", ""),
        ("cuda:1", 2, "13.0", ""),
        ("cuda:9", 2, "13.0", "expected cuda:0 to cuda:1, got 'cuda:9': there are 2 GPUs"),
        ("cuda:1", 1, "13.0", "expected cuda:0, got 'cuda:1': there is 1 GPU"),
        ("cuda", 0, "13.0", "'cuda' needs a GPU and its driver; torch .* finds none here"),
        ("cuda:3", 2, None, "'cuda:3' needs a torch that is built for GPUs; torch .* is built for the processor"),
    ],
)
def test_a_device_that_cannot_be_used_says_why(
    name: str, count: int, built: str | None, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, count, built=built)

    told = names.unavailable(name)

    assert (told == "") == (why == "")
    if why:
        with pytest.raises(DeviceFailed, match=why):
            Device.open(name)


def test_without_torch_a_gpu_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "find_spec", lambda name: None)

    assert names.unavailable("cuda") == "'cuda' needs torch, which is not installed: pip install torch"
    assert names.unavailable("cpu") == ""


@pytest.mark.parametrize(("count", "driver", "found"), [(2, True, "cuda:0"), (0, True, ""), (2, False, "")])
def test_the_gpu_that_may_be_taken_is_the_first(
    count: int, driver: bool, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, count, driver=driver)

    assert names.usable_gpu() == found


def test_where_no_driver_is_loaded_nothing_imports_torch_to_look_for_a_gpu() -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from thalweg.memory.devices import names\n"
        "names._DRIVERS = (Path('/nowhere'),)\n"
        "from thalweg.models.contract.learner import LearnerContext\n"
        "from thalweg.models.contract.devices import placed\n"
        "assert names.usable_gpu() == ''\n"
        "placed(object(), LearnerContext(inputs={}, device='auto'))\n"
        "assert 'torch' not in sys.modules\n"
    )

    subprocess.run([sys.executable, "-c", program], check=True)
