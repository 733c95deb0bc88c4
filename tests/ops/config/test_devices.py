"""The device of a model: what is wrong with it is said before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.memory.devices.gpus import pretend
from tests.ops.config.test_config import written
from thalweg.models.contract.registry import BUILT_IN, find
from thalweg.ops.config.config import Config, load
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.run.app import new_learner

MODEL = """
[[model]]
name = "m"
learner = "{learner}"
topic = "m.events"
inputs.features = {{ shape = [8] }}
{more}
"""


def loaded(tmp_path: Path, more: str, learner: str = "ridge", *, devices: bool = True) -> Config:
    return load(written(tmp_path, MODEL.format(learner=learner, more=more)), {}, devices=devices)


@pytest.mark.parametrize(
    ("more", "learner", "told"),
    [
        ("device = 'cuda:9'", "ridge", "expected cuda:0 to cuda:1, got 'cuda:9': there are 2 GPUs"),
        (
            "device = 'cuda'",
            "nearest_mean",
            "nearest_mean computes on the processor alone: expected auto or cpu, got 'cuda'",
        ),
        (
            "device = 'cuda'\nencoder = 'random_features:8'",
            "nearest_mean",
            "nearest_mean computes on the processor alone: expected auto or cpu, got 'cuda'",
        ),
    ],
)
def test_a_device_that_a_model_cannot_have_is_a_mistake(
    more: str, learner: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, 2)

    with pytest.raises(ConfigurationError) as error:
        loaded(tmp_path, more, learner)

    assert f"model.m.device: {told}" in str(error.value)


def test_every_mistake_is_told_beside_that_of_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 0)

    with pytest.raises(ConfigurationError) as error:
        loaded(tmp_path, "device = 'cuda'\nparams.gamma = -1\nbatch_events = 0")

    told = str(error.value)
    assert "model.m.device: 'cuda' needs a GPU and its driver" in told
    assert "model.m.params.gamma" in told
    assert "model.m.batch_events" in told


def test_a_process_of_a_running_service_starts_without_a_gpu_that_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, 0)

    (model,) = loaded(tmp_path, "device = 'cuda'", devices=False).model

    with pytest.raises(RuntimeError, match="'cuda:0' needs a GPU and its driver"):  # of this model alone
        new_learner(model)
    assert new_learner(model, looked_at=True).schema.inputs


def test_a_configuration_is_read_without_touching_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that reads it may be forked afterwards, which a process that has used a GPU must not be."""
    pretend(monkeypatch, 2)
    monkeypatch.setattr("thalweg.memory.devices.device.Device.open", None)  # would raise

    (model,) = loaded(tmp_path, "device = 'cuda:1'").model

    assert model.context().device == "cuda:1"
    assert model.on_processor().device == "cpu"


def test_auto_looks_for_a_spare_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 1)
    (model,) = loaded(tmp_path, "").model
    assert (model.device, model.context().device, model.context().spare_gpu) == ("auto", "cpu", "cuda:0")

    pretend(monkeypatch, 0)
    assert model.context().spare_gpu == ""
    (model,) = loaded(tmp_path, "device = 'cpu'").model
    assert model.context().spare_gpu == ""


def test_the_device_is_no_part_of_what_determines_a_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state goes on on another device: it is not made anew."""
    pretend(monkeypatch, 2)

    hashes = {loaded(tmp_path, f"device = '{name}'").model[0].identity_sha256() for name in ("cpu", "auto", "cuda:1")}

    assert len(hashes) == 1


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_a_learner_says_whether_it_takes_a_device(name: str) -> None:
    taken = getattr(find(name), "takes_device", False)

    assert taken == (name in {"ridge", "bottleneck", "error_memory", "prompt_tpp", "cotta"})
