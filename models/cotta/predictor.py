"""What an adapting classifier publishes: teacher, target statistics of its batch norms, and what came just before."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.devices.device import Device
from thalweg.memory.devices.recorded import Recorded, recorded
from thalweg.memory.snapshots.state import State
from thalweg.models.cotta.lame import corrected
from thalweg.models.cotta.source import with_logits
from thalweg.models.cotta.target_norm import replace_batch_norms, target_norms
from thalweg.models.cotta.views import served
from thalweg.models.cotta.windows import Before, CallerColumn, Window, features_of
from thalweg.models.networks.architectures import filled
from thalweg.models.parts.input_columns import InputColumns
from thalweg.models.parts.torch_setup import Tensor, functional, torch
from thalweg.proto.schema import Array, InputError, Inputs, TensorSpec
from thalweg.proto.task import ADAPTATION, Task

_ROWS = 8
"""Rows are computed in multiples of this: fewer rows use other matrix products, with other last bits. On a GPU the bits
of a row depend on the number of rows, which is then always this."""
_AT_ONCE = 64

_TASK = ADAPTATION.with_probabilities()


class CottaPredictor:
    """Predicts `label` and `scores`, probabilities by the teacher; rows that are out of range get -1 and NaN.

    Args:
        columns: The one input that the network takes.
        model: With the teacher's weights and the target's statistics, its norms in serving mode; not shared.
        settings: `model`, `largest`, `serve_views`, `own`; with a window also `caller`, its input; of a model that ends
            in a softmax also `probabilities`.
        classes: Names of its outputs; empty: their indices.
        factors: What probabilities are multiplied by, (K,), before they are normalised; None: ones.
        window: The latest inputs of each caller, which predictions are corrected by; None: no correction.
        device: Where the model is; None: with the processor.
    """

    def __init__(
        self,
        columns: InputColumns,
        model: torch.nn.Module,
        settings: Mapping[str, Any],
        classes: Sequence[str],
        factors: Array | None = None,
        window: Window | None = None,
        device: Device | None = None,
    ) -> None:
        self._device = device or Device()
        self._recorded: Recorded | None = None
        """The network's pass over a tile, recorded on the device; None: it is computed layer by layer."""
        self._columns, self._model, self._settings = columns, model.eval(), dict(settings)
        name = self._settings.get("caller", "")
        self._caller = CallerColumn({name: TensorSpec(name, "int64", ())} if name else {}, name)
        self._window = window
        self._run = _logits_alone if window is None else _with_features
        self._classes = tuple(classes)
        self._factors = None if factors is None else np.array(factors, dtype=np.float32)
        for _, layer in target_norms(model):
            layer.own = float(settings["own"])
        for parameter in model.parameters():
            parameter.requires_grad_(False)

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        return {**self._columns.specs, **self._caller.specs}

    @property
    def task(self) -> Task:
        return _TASK

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        return {"label": TensorSpec("label", "bytes", ()), "scores": TensorSpec("scores", "float32", (-1,))}

    @property
    def classes(self) -> tuple[str, ...]:
        return self._classes

    @property
    def properties(self) -> Mapping[str, str]:
        return {"scores": "probabilities"}

    def check(self, inputs: Inputs) -> None:
        """Raise InputError for inputs that are out of range."""
        rows = self._columns.gather(self._caller.split(inputs)[1])
        largest = self._settings["largest"]
        if largest and rows.size and (float(rows.min()) < 0 or float(rows.max()) > largest):
            (name,) = self._columns.specs
            bytes_ = "; bytes are meant to be divided by 255" if largest == 1 and rows.max() > 1.5 else ""
            raise InputError(
                f"input {name!r}: expected numbers from 0 to {largest:g}, got {rows.min():g} to {rows.max():g}{bytes_}"
            )

    def predict(self, inputs: Inputs) -> Mapping[str, Array]:
        callers, shown = self._caller.split(inputs)
        x = as_pictures(self._columns, shown)
        usable = in_range(x, self._settings["largest"])
        found = np.full((len(x), len(self._classes)), np.nan, dtype=np.float32)
        places = np.flatnonzero(usable)
        with nullcontext() if self._recorded is None else self._device.apart():
            for start in range(0, len(places), _AT_ONCE):
                part = places[start : start + _AT_ONCE]
                found[part] = self._scores(self._device.put(x[part]), callers[part])
        labels = np.full(len(x), -1, dtype=np.int32)
        known = np.isfinite(found).all(axis=1)
        labels[known] = found[known].argmax(axis=1)
        return {"label": labels, "scores": found}

    def _scores(self, x: Tensor, callers: NDArray[np.int64]) -> NDArray[np.float32]:
        views = served(x, self._settings["serve_views"])
        rows = len(x) * len(views)
        padding = x[:1].expand(-rows % _ROWS, *x.shape[1:])
        with torch.no_grad():
            logits, *features = self._passed(torch.cat([*views, padding]))
            averaged = logits[:rows].view(len(views), len(x), -1).mean(0).softmax(1)
            scores: NDArray[np.float32] = self._device.fetch(averaged)
        if self._window is None:
            return scores if self._factors is None else _weighted(scores, self._factors)
        return self._corrected(scores, self._device.fetch(features[0][: len(x)]), self._window.of(callers))

    def _passed(self, x: Tensor) -> tuple[Tensor, ...]:
        """Logits of whole tiles (N, ...), (N, K); with a window also their features, (N, D)."""
        if self._device.is_processor:
            return self._run(self._model, x)
        tiles = [x[start : start + _ROWS] for start in range(0, len(x), _ROWS)]
        if self._recorded is None:
            found = [self._run(self._model, tile) for tile in tiles]
        else:
            found = [self._recorded(self._model, tile) for tile in tiles]
        return tuple(torch.cat(each) for each in zip(*found, strict=True))

    def _corrected(self, scores: NDArray[np.float32], features: Array, before: Before) -> NDArray[np.float32]:
        """By each row's caller's latest inputs; rows of this request say nothing of each other."""
        everyones = np.ones(scores.shape[1], dtype=np.float32) if self._factors is None else self._factors
        factors = np.where(np.isnan(before.factors), everyones, before.factors)
        scores = _weighted(scores, factors)
        known = np.flatnonzero(before.held.any(axis=1))
        if not len(known):
            return scores
        shares = _weighted(before.shares[known], factors[known, None])
        found = corrected(
            np.concatenate([scores[known, None], shares], axis=1),
            np.concatenate([features[known, None], before.features[known]], axis=1),
            np.concatenate([np.ones((len(known), 1), dtype=bool), before.held[known]], axis=1),
        )
        scores[known] = found[:, 0]
        return scores

    def state(self) -> State:
        network = self._device.fetch_all(self._model.state_dict())
        tensors: dict[str, Array] = {f"network.{name}": array for name, array in network.items()}
        if self._factors is not None:
            tensors["factors"] = self._factors
        if self._window is not None:
            tensors |= {f"window.{name}": each for name, each in self._window.tensors().items()}
        (spec,) = self._columns.specs.values()
        meta = {"settings": self._settings, "classes": list(self._classes)}
        return State(tensors, meta | {"input": {"name": spec.name, "shape": list(spec.shape), "dtype": spec.dtype}})

    @classmethod
    def of(cls, state: State, device: Device | None = None) -> CottaPredictor:
        """The predictor of a `state()`; `device`: where it computes, None: with the processor."""
        meta = state.meta
        prefix = "network."
        tensors = {name.removeprefix(prefix): array for name, array in state.tensors.items() if name.startswith(prefix)}
        model = filled(meta["settings"]["model"], replace_batch_norms, tensors)
        if meta["settings"].get("probabilities"):
            with_logits(model)
        model = model if device is None else device.upload(model)
        spec = TensorSpec(meta["input"]["name"], meta["input"]["dtype"], tuple(meta["input"]["shape"]))
        columns, window = InputColumns({spec.name: spec}), None
        if "window.ids" in state.tensors:
            prefix = "window."
            kept = {name.removeprefix(prefix): each for name, each in state.tensors.items() if name.startswith(prefix)}
            window = Window.holding(kept)
        made = cls(columns, model, meta["settings"], meta["classes"], state.tensors.get("factors"), window, device)
        if device is not None:
            key = json.dumps(
                [meta["settings"], window is not None, meta["input"], len(meta["classes"])], sort_keys=True
            )
            made._recorded = recorded(key, device, model, made._run, (_ROWS, *spec.shape))
        return made


def _logits_alone(model: torch.nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    """Logits (N, K) of inputs (N, ...)."""
    return (model(x),)


def _with_features(model: torch.nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    """Logits (N, K) of inputs (N, ...), and what the last linear layer is given, (N, D) of length 1."""
    with features_of(model) as caught:
        logits = model(x)
    return logits, torch.cat(caught) if caught else functional.normalize(logits, dim=1)


def _weighted(scores: Array, factors: Array) -> NDArray[np.float32]:
    """Probabilities (…, K) times factors (…, K), to sum to 1; absent ones, which are all 0, stay so."""
    weighted: NDArray[np.float32] = scores * factors
    weighted /= np.maximum(weighted.sum(axis=-1, keepdims=True), np.float32(1e-30))
    return weighted


def as_pictures(columns: InputColumns, inputs: Inputs) -> NDArray[np.float32]:
    """The one input as float32, (N, ...). Raises InputError as `InputColumns.gather`."""
    (spec,) = columns.specs.values()
    rows = columns.gather(inputs)
    found: NDArray[np.float32] = np.ascontiguousarray(rows, dtype=np.float32).reshape((len(rows), *spec.shape))
    return found


def in_range(x: NDArray[np.float32], largest: float) -> NDArray[np.bool_]:
    """Which rows are finite and within 0 to `largest` (0: no limit), (N,)."""
    flat = x.reshape((len(x), x[0].size if len(x) else 0))
    usable = np.isfinite(flat).all(axis=1)
    if largest:
        with np.errstate(invalid="ignore"):
            usable = usable & ((flat >= 0) & (flat <= largest)).all(axis=1)
    return np.asarray(usable, dtype=np.bool_)
