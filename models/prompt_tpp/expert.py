"""A network that learns: its weights, Adam's moments, and the care for its prompts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.devices.device import Device
from thalweg.models.parts.adam import Adam
from thalweg.models.parts.torch_setup import Tensor, torch
from thalweg.models.prompt_tpp.closed_form import LONGEST, SHORTEST
from thalweg.models.prompt_tpp.network import POOL, Past, Ready, TppShape, draw_weights, prepare
from thalweg.models.prompt_tpp.params import Params
from thalweg.proto.schema import Array

_HEAD = ("type.", "mixture.", "markov", "head.", "log_beta")


class Samples(NamedTuple):
    """Intervals to learn from, B of them."""

    past: Past
    gaps: Tensor
    """(B,), in units."""
    types: Tensor
    """(B,); -1: the interval ended without an event."""
    silent: Tensor
    """Of each gap, the part whose silence was learned before, (B,)."""

    def on(self, device: Device) -> Samples:
        """The same there."""
        if device.is_processor:
            return self
        return Samples(self.past.on(device), *(device.put(one.numpy()) for one in self[1:]))


class NetworkExpert:
    """One thread drives it.

    Args:
        params: Of the learner.
        shape: Of the network.
        seed: Of the first weights.
        device: Where it learns.
    """

    def __init__(self, params: Params, shape: TppShape, seed: int, device: Device) -> None:
        self._params, self.shape, self._device = params, shape, device
        self._adam = Adam(draw_weights(shape, seed), params.learning_rate, device)
        self._chosen_at = {pool: np.zeros(params.prompts, dtype=np.int64) for pool in shape.pools}
        self.trained = 0
        """Samples it was trained with."""
        self.steps = 0
        self.left_out = 0
        """Steps that were skipped because they were not finite."""
        self._frozen: dict[str, Array] | None = None

    def learn(self, samples: Samples, pace: float, *, said: bool = False) -> NDArray[np.float64]:
        """Learn these, all at once.

        Args:
            samples: What to learn, with the processor.
            pace: Factor on the learning rate.
            said: Whether to return what the network said before: it costs a little.

        Returns:
            By the weights from before: log-probability of the type, log-density of the gap given the type, and whether
            another type was the most likely, (3, B); NaN for silence. Empty unless `said`.
        """
        p, names = self._params, self._learning()
        there = samples.on(self._device)
        leaves = self._adam.leaves(names)
        ready = prepare(self.shape, leaves, there.past)
        reading = ready.mixture() if said else ready
        likelihood = reading.log_likelihood(there.gaps, there.types)
        told = np.empty((3, 0))
        if said:
            types = reading.mixture().types
            of_type = self._device.fetch(types.gather(1, there.types.clamp(min=0)[:, None])[:, 0].double())
            missed = self._device.fetch((types.argmax(dim=1) != there.types).double())
            told = np.stack([of_type, self._device.fetch(likelihood.double()) - of_type, missed])
            told[:, samples.types.numpy() < 0] = np.nan
        if (samples.silent > 0).any():  # an event is conditioned on the silence learned before it
            silent = there.silent.clamp(SHORTEST, LONGEST).minimum(there.gaps)
            likelihood = likelihood + torch.where(there.silent > 0, reading.hazard(silent), 0.0)
        loss = -(likelihood.sum() + p.key_loss * ready.similarity.sum()) / len(samples.gaps)
        self.trained += len(samples.gaps)
        self.steps += 1
        if not names:  # only prompts learn, and it has none
            return told
        ordered = sorted(names)
        gradients = torch.autograd.grad(loss, [leaves[name] for name in ordered], allow_unused=True)
        found = {name: gradient for name, gradient in zip(ordered, gradients) if gradient is not None}
        none = torch.zeros((), device=loss.device)
        norm = self._device.number(torch.sqrt(sum((one.double().square().sum() for one in found.values()), none)))
        if not math.isfinite(self._device.number(loss)) or not math.isfinite(norm):
            self.left_out += 1
            return told
        self._adam.pace = pace
        scale = min(1.0, p.clip / max(norm, 1e-12))
        self._adam.step({name: gradient * scale for name, gradient in found.items()})
        self._tend_pool(ready)
        self._frozen = None
        return told

    def _learning(self) -> set[str]:
        """Weights updated at this step."""
        p, every = self._params, set(self._adam.weights)
        pool = {name for name in every if name.startswith(POOL)}
        if p.mode == "joint" or self.trained < p.warm_events:
            slow = self.steps % p.backbone_every == 0 or not pool
            return every if slow else pool
        head = {name for name in every if name.startswith(_HEAD)}
        return pool | head if p.mode == "freeze_backbone" else pool

    def _tend_pool(self, ready: Ready) -> None:
        """Record which prompts are in use; one unused for too long gets a new key, near the latest history's query."""
        for pool, places in ready.chosen.items():
            used = self._chosen_at[pool]
            used[np.unique(self._device.fetch(places))] = self.trained
            if not self._params.reseed_events:
                continue
            name = f"{POOL}{pool}.keys"
            for place in np.flatnonzero(self.trained - used > self._params.reseed_events):
                keys = self._adam.weights[name].clone()
                keys[place] = ready.query[-1].detach()
                self._adam.weights[name] = keys
                used[place] = self.trained

    def frozen(self) -> dict[str, Array]:
        """Copies of the weights; the same ones until the next step."""
        if self._frozen is None:
            self._frozen = self._adam.frozen()
        return self._frozen

    def tensors(self) -> dict[str, Array]:
        """The state of weights and moments."""
        return self._adam.tensors()

    def chosen(self) -> Mapping[str, Array]:
        """When each prompt was last in use, in samples, by pool: part of the state."""
        return self._chosen_at

    def counts(self) -> dict[str, int]:
        """Counters: part of the state."""
        return {"trained": self.trained, "steps": self.steps, "left_out": self.left_out}

    def restore(self, tensors: Mapping[str, Array], chosen: Mapping[str, Array], counts: Mapping[str, Any]) -> None:
        """From `tensors()`, `chosen()` and `counts()`."""
        self._adam.restore(tensors)
        self._chosen_at = {pool: np.array(used) for pool, used in chosen.items()}
        self.trained, self.steps, self.left_out = (int(counts[name]) for name in ("trained", "steps", "left_out"))
        self._frozen = None
