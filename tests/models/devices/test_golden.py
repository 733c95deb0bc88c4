"""The recorded traces of CoTTA's official code, on a device."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from tests.models.cotta.test_golden import CASES, network
from tests.models.devices.stand_ins import gpu
from thalweg.models.cotta.adaptation import Adaptation, Recipe
from thalweg.models.parts.adam import Adam
from thalweg.models.parts.sgd import Sgd

SHARED = Path(os.environ.get("THALWEG_SHARED", Path(__file__).parents[4] / "shared"))


@pytest.mark.skipif(not (SHARED / "golden").is_dir(), reason="no golden arrays; set THALWEG_SHARED to their folder")
@pytest.mark.parametrize("case", CASES)
def test_traces_of_the_official_code_are_reproduced_there(case: str) -> None:
    trace = np.load(SHARED / "golden" / f"cotta_{case}.npz", allow_pickle=False)
    meta, device = json.loads(str(trace["meta"])), gpu()
    single = meta["dtype"] == "torch.float32"
    kind = np.float32 if single else np.float64
    close, near = (1e-5, 1e-5) if single else (1e-11, 1e-8)
    names = [str(name) for name in trace["param_names"]]
    source = {name: trace[f"source.{name}"].astype(kind) for name in names}
    recipe = Recipe(
        loss="symmetric" if meta["variant"] == "imagenet" else "cross_entropy",
        average=float(trace["hp.alpha"]),
        restore=float(trace["hp.restore_p"]),
        threshold=float(trace["hp.p_th"]),
    )
    model = network(meta["net"], meta["classes"])
    model = device.place(model.float() if single else model)
    anchor = {name: device.own(array) for name, array in source.items()}

    def fresh() -> Adaptation:
        rate = float(trace["hp.lr"])
        if meta["optimizer"] == "adam":
            return Adaptation(model, Adam(source, rate, device), anchor, recipe, device)
        return Adaptation(
            model, Sgd(source, rate, float(trace["hp.sgd_momentum"]), device=device), anchor, recipe, device
        )

    adapting, index, inner = fresh(), 0, int(trace["hp.steps"])
    for number in range(sum(1 for name in trace if name.startswith("x.t"))):
        x = device.put(trace[f"x.t{number}"].astype(kind))
        if bool(trace["hp.episodic"]) or ("reset_before" in trace and number == int(trace["reset_before"])):
            adapting = fresh()
        for step in range(inner):
            key = f"t{number}" if inner == 1 else f"t{number}s{step}"

            def views(_: Tensor, key: str = key) -> Iterator[Tensor]:
                yield from (device.put(one) for one in trace[f"aug.{key}"].astype(kind))

            def masks(name: str, _: Tensor, index: int = index) -> Tensor:
                return device.put(trace[f"mask.{name}"][index].astype(bool))

            done = adapting.step(x, views, masks)

            assert done.viewed == bool(trace["used_augmentation"][index])
            wanted = trace[f"target_logits.{key}"]
            found = device.fetch(done.answer)
            np.testing.assert_allclose(found, wanted, rtol=close, atol=close * max(1, abs(wanted).max()))
            for name in names:
                for weight, part in (
                    (adapting.optimizer.weights[name], "student"),
                    (adapting.teacher[name], "teacher"),
                ):
                    recorded = trace[f"{part}.{name}"][index]
                    np.testing.assert_allclose(device.fetch(weight), recorded, rtol=near, atol=near, err_msg=name)
            index += 1
