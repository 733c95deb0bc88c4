"""The adaptation step against traces of the official implementation, in float64."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thalweg.models.cotta.adaptation import Adaptation, Recipe
from thalweg.models.cotta.target_norm import replace_batch_norms
from thalweg.models.parts.adam import Adam
from thalweg.models.parts.sgd import Sgd
from thalweg.models.parts.torch_setup import Tensor, torch

CASES = (
    "aug_average",
    "mixed_threshold_stress",
    "episodic_two_steps",
    "reset_midstream",
    "layernorm_mlp",
    "imagenet_symmetric_aug",
    "imagenet_symmetric_plain",
    "imagenet_symmetric_plain_f32",
)


def network(kind: str, classes: int) -> torch.nn.Module:
    nn = torch.nn
    layers: dict[str, torch.nn.Module] = {}
    if kind == "mlp":
        layers = {"fc1": nn.Linear(12, 16), "ln1": nn.LayerNorm(16), "relu": nn.ReLU(), "fc2": nn.Linear(16, classes)}
    else:
        layers = {"conv1": nn.Conv2d(3, 6, 3, padding=1, bias=False), "bn1": nn.BatchNorm2d(6), "relu1": nn.ReLU()}
        layers |= {"conv2": nn.Conv2d(6, 8, 3, stride=2, padding=1), "bn2": nn.BatchNorm2d(8), "relu2": nn.ReLU()}
        layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "fc": nn.Linear(8, classes)}
    model = nn.Sequential()
    for name, layer in layers.items():
        model.add_module(name, layer)
    return replace_batch_norms(model.double()).eval()


@pytest.mark.parametrize("case", CASES)
def test_traces_of_the_official_code_are_reproduced(shared: Path, case: str) -> None:
    trace = np.load(shared / "golden" / f"cotta_{case}.npz", allow_pickle=False)
    meta = json.loads(str(trace["meta"]))
    single = meta["dtype"] == "torch.float32"
    kind: Any = np.float32 if single else np.float64
    close, near = (1e-5, 1e-5) if single else (1e-11, 1e-8)
    names = [str(name) for name in trace["param_names"]]
    source = {name: trace[f"source.{name}"].astype(kind) for name in names}
    anchor = {name: torch.from_numpy(array) for name, array in source.items()}
    rate = float(trace["hp.lr"])

    def fresh() -> Adaptation:
        sgd = meta["optimizer"] != "adam"
        optimizer = Sgd(source, rate, float(trace["hp.sgd_momentum"])) if sgd else Adam(source, rate)
        symmetric = meta["variant"] == "imagenet"
        recipe = Recipe(
            loss="symmetric" if symmetric else "cross_entropy",
            average=float(trace["hp.alpha"]),
            restore=float(trace["hp.restore_p"]),
            threshold=float(trace["hp.p_th"]),
        )
        return Adaptation(model, optimizer, anchor, recipe)

    model = network(meta["net"], meta["classes"])
    model = model.float() if single else model
    adapting, index = fresh(), 0
    inner = int(trace["hp.steps"])
    batches = sum(1 for name in trace if name.startswith("x.t"))
    for number in range(batches):
        x = torch.from_numpy(trace[f"x.t{number}"].astype(kind))
        if bool(trace["hp.episodic"]) or ("reset_before" in trace and number == int(trace["reset_before"])):
            adapting = fresh()
        for step in range(inner):
            key = f"t{number}" if inner == 1 else f"t{number}s{step}"

            def views(_: Tensor, key: str = key) -> Iterator[Tensor]:
                yield from torch.from_numpy(trace[f"aug.{key}"].astype(kind))

            def masks(name: str, _: Tensor, index: int = index) -> Tensor:
                return torch.from_numpy(trace[f"mask.{name}"][index].astype(bool))

            done = adapting.step(x, views, masks)

            assert done.viewed == bool(trace["used_augmentation"][index])
            for found, wanted in (
                (done.answer, trace[f"target_logits.{key}"]),
                (done.student, trace[f"student_logits.{key}"]),
                (done.loss, trace[f"loss_per_sample.{key}"]),
            ):
                np.testing.assert_allclose(found.numpy(), wanted, rtol=close, atol=close * max(1, abs(wanted).max()))
            assert done.confidence == pytest.approx(float(trace["anchor_conf_mean"][index]), rel=close)
            for name in names:
                for found, part in ((adapting.optimizer.weights[name], "student"), (adapting.teacher[name], "teacher")):
                    wanted = trace[f"{part}.{name}"][index]
                    np.testing.assert_allclose(found.numpy(), wanted, rtol=near, atol=near, err_msg=f"{part} {name}")
            index += 1
        np.testing.assert_allclose(done.answer.numpy(), trace[f"prediction.t{number}"], rtol=close, atol=10 * close)
