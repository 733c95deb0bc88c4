"""CoTTA: a deployed classifier that adapts to its unlabelled traffic.

Source: `models/adaptation.py` names paper and code. Every event's input counts, labelled or not; labels only grade. A
step is taken on `adapt_batch` inputs in the order of the log; answers go by the teacher and by running statistics of
the target, never by who shares a request. State: student with its optimizer, teacher, statistics, inputs that wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np

from thalweg.memory.state import State
from thalweg.models.adam import Adam
from thalweg.models.adaptation import Adaptation, Stepped
from thalweg.models.cotta_params import Params
from thalweg.models.cotta_predictor import CottaPredictor, as_pictures, in_range
from thalweg.models.input_columns import InputColumns
from thalweg.models.learner import ParamsError
from thalweg.models.sgd import Sgd
from thalweg.models.target_norm import replace_batch_norms, target_norms
from thalweg.models.torch_models import build, weights_sha256
from thalweg.models.torch_setup import Tensor, torch
from thalweg.models.views import find_views
from thalweg.proto.event import Array, Batch, Schema, TensorSpec

_NORMS = (torch.nn.LayerNorm, torch.nn.GroupNorm, torch.nn.InstanceNorm2d)


class Cotta:
    """The learner `cotta`; parameters in `Params`, obligations in `models/learner.py`.

    Inputs that are not finite or out of range are passed over and counted.
    """

    def __init__(self, *, inputs: Mapping[str, TensorSpec], params: Mapping[str, Any], seed: int) -> None:
        self.params = p = Params.of(params)
        self._columns = InputColumns(inputs)
        if len(inputs) != 1:
            raise ParamsError({"inputs": f"expected one input, got {list(inputs)}"})
        self._views, self._seed = find_views(p.views), seed
        self._model = replace_batch_norms(build(p.model, p.weights))
        self._weights_sha256 = weights_sha256(p.weights)
        outputs = self._outputs()
        names = [name.strip() for name in p.classes.split(",")] if p.classes else [str(k) for k in range(outputs)]
        if len(set(names)) != outputs:
            raise ParamsError(
                {"classes": f"expected {outputs} different names, as the model has outputs, got {p.classes!r}"}
            )
        self._classes = names
        if not self._adapting() and p.learning_rate:
            raise ParamsError({"adapt": f"expected parameters to move, got none by {p.adapt!r} in {p.model}"})
        self._adaptation = self._fresh()
        self._statistics = {
            name: (layer.mean.clone(), layer.square.clone()) for name, layer in target_norms(self._model)
        }
        self._waiting = np.zeros((0, *self._shape), dtype=np.float32)
        self._followed = 0  # of those that wait, how many the statistics have taken up
        self._counts = {"steps": 0, "inputs": 0, "skipped": 0, "left_out": 0, "resets": 0}
        self._predictor: CottaPredictor | None = None

    @property
    def _shape(self) -> tuple[int, ...]:
        (spec,) = self._columns.specs.values()
        return tuple(spec.shape)

    @property
    def schema(self) -> Schema:
        return Schema(self._columns.specs, "class")

    def _outputs(self) -> int:
        try:
            with torch.no_grad():
                found = self._model(torch.zeros(2, *self._shape))
        except (RuntimeError, ValueError) as error:
            shape = list(self._shape)
            raise ParamsError(
                {"inputs": f"{self.params.model} cannot take inputs of shape {shape}: {error}"}
            ) from error
        if found.ndim != 2:
            raise ParamsError({"model": f"expected logits (N, K), got {list(found.shape)} from {self.params.model}"})
        return int(found.shape[1])

    def _fresh(self) -> Adaptation:
        """Student and teacher as the source is."""
        p = self.params
        anchor = {name: each.detach().clone() for name, each in self._model.named_parameters()}
        student = {name: anchor[name].numpy() for name in self._adapting()}
        optimizer = Adam(student, p.learning_rate) if p.optimizer == "adam" else Sgd(student, p.learning_rate)
        return Adaptation(self._model, optimizer, anchor, p.recipe)

    def _adapting(self) -> list[str]:
        norms = {name for name, _ in target_norms(self._model)}
        norms |= {name for name, module in self._model.named_modules() if isinstance(module, _NORMS)}
        return [
            name
            for name, _ in self._model.named_parameters()
            if self.params.adapts(name, name.rpartition(".")[0] in norms)
        ]

    # Learning

    def learn(self, batch: Batch) -> None:
        x = as_pictures(self._columns, batch.inputs)
        usable = in_range(x, self.params.largest)
        self._counts["skipped"] += int(np.count_nonzero(~usable))
        if not usable.any():
            return
        self._waiting = np.concatenate([self._waiting, x[usable]])
        follow, size = self.params.follow_batch, self.params.adapt_batch
        while len(self._waiting) >= self._followed + follow:
            self._follow(torch.from_numpy(self._waiting[self._followed : self._followed + follow].copy()))
            self._followed += follow
            if self._followed >= size:
                self.adapt(torch.from_numpy(self._waiting[:size].copy()))
                self._waiting, self._followed = self._waiting[size:].copy(), 0

    def _follow(self, x: Tensor) -> None:
        """Let the target's statistics follow these inputs (B, …), as the teacher sees them."""
        self._adaptation.answer(x)
        share = self.params.statistics
        for name, layer in target_norms(self._model):
            assert layer.seen is not None
            if all(bool(torch.isfinite(one).all()) for one in layer.seen):
                before = self._statistics[name]
                self._statistics[name] = before[0].lerp(layer.seen[0], share), before[1].lerp(layer.seen[1], share)
        self._predictor = None

    def adapt(self, x: Tensor) -> Stepped:
        """Answer inputs (B, …) by their own statistics, then take a step on them."""
        p = self.params
        if p.reset_steps and self._counts["steps"] and self._counts["steps"] % p.reset_steps == 0:
            self._adaptation = self._fresh()
            self._counts["resets"] += 1
        generator = torch.Generator().manual_seed(1_000_003 * self._seed + self._counts["steps"])

        def masks(_: str, weight: Tensor) -> Tensor:
            return torch.rand(weight.shape, generator=generator) < p.restore

        done = self._adaptation.step(x, lambda one: self._views(one, p.view_count, generator), masks)
        self._counts["steps"] += 1
        self._counts["inputs"] += len(x)
        self._counts["left_out"] += not done.moved and p.learning_rate > 0
        self._predictor = None
        return done

    # Answers and state

    def predictor(self) -> CottaPredictor:
        if self._predictor is None:
            p, model = self.params, deepcopy(self._model)
            tensors = dict(self._adaptation.teacher)
            for name, (mean, square) in self._statistics.items():
                tensors |= {f"{name}.mean".lstrip("."): mean, f"{name}.square".lstrip("."): square}
            model.load_state_dict(tensors, strict=False)
            settings = {"model": p.model, "largest": p.largest, "serve_views": p.serve_views, "own": p.own}
            self._predictor = CottaPredictor(self._columns, model, settings, self._classes)
        return self._predictor

    @classmethod
    def predictor_from(cls, state: State) -> CottaPredictor:
        """The predictor whose `state()` this was."""
        return CottaPredictor.of(state)

    def gauges(self) -> Mapping[str, float]:
        return {
            "classes": float(len(self._classes)),
            "skipped_events": float(self._counts["skipped"]),
            "left_out_steps": float(self._counts["left_out"]),
        }

    def state(self) -> State:
        tensors: dict[str, Array] = {f"student.{n}": array for n, array in self._adaptation.optimizer.tensors().items()}
        tensors |= {f"teacher.{name}": each.numpy() for name, each in self._adaptation.teacher.items()}
        for name, (mean, square) in self._statistics.items():
            tensors |= {f"mean.{name}": mean.numpy(), f"square.{name}": square.numpy()}
        tensors["waiting"] = self._waiting
        return State(tensors, {"identity": self._identity(), "counts": self._counts, "followed": self._followed})

    def restore(self, state: State) -> None:
        tensors, meta = state.tensors, state.meta
        if meta.get("identity") != self._identity():
            raise ValueError(f"state of other parameters: expected {self._identity()}, got {meta.get('identity')}")

        def tensor(name: str) -> Tensor:
            return torch.from_numpy(np.array(tensors[name])).clone()

        prefix = "student."
        student = {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
        self._adaptation.optimizer.restore(student)
        self._adaptation.teacher = {name: tensor(f"teacher.{name}") for name in self._adaptation.anchor}
        self._statistics = {name: (tensor(f"mean.{name}"), tensor(f"square.{name}")) for name in self._statistics}
        self._waiting = np.array(tensors["waiting"])
        self._counts, self._followed = dict(meta["counts"]), meta["followed"]
        self._predictor = None

    def _identity(self) -> dict[str, Any]:
        p = self.params
        return {"model": p.model, "weights_sha256": self._weights_sha256, "adapt": p.adapt, "optimizer": p.optimizer}
