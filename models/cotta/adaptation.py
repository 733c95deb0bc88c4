"""One step of test-time adaptation: student, teacher and anchor of a classifier, and a batch without labels.

Source: Wang, Fink, Van Gool and Dai, "Continual Test-Time Domain Adaptation" (CoTTA), CVPR 2022, arXiv:2203.13591, with
the official code's two variants; TENT (Wang et al., ICLR 2021) and plain batch statistics are reduced forms of the same
step. All three copies share one module, whose batch norms are `TargetNorm`s; weights are dictionaries of tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Literal, NamedTuple, Protocol, TypeAlias

import numpy as np

from thalweg.memory.devices.device import Device
from thalweg.models.parts.torch_setup import Tensor, torch
from thalweg.proto.schema import Array

Weights = Mapping[str, Tensor]
Views = Callable[[Tensor], Iterator[Tensor]]
"""Views (B, …) of a batch (B, …), one after the other, so that few are in memory at a time."""
Masks = Callable[[str, Tensor], Tensor]
"""Which elements of a weight are restored to the source, as bool, with its shape."""

Loss: TypeAlias = Literal["cross_entropy", "symmetric", "entropy"]


class Optimizer(Protocol):
    """The optimizer of the student: `Adam`, `Sgd`."""

    weights: dict[str, Tensor]
    pace: float

    def step(self, gradients: Weights) -> None:
        """Update the weights that have a gradient."""

    def tensors(self) -> dict[str, Array]:
        """Everything, for a snapshot."""

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Become the one whose `tensors()` are among these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The parameters of a step."""

    loss: str = "cross_entropy"
    """With the teacher's prediction, `symmetric` with the student's, or the student's own `entropy` (TENT)."""

    average: float = 0.999
    """Momentum of the teacher, α; 0: the student is the teacher."""

    restore: float = 0.01
    """Probability that an element is restored to the source, p."""

    threshold: float = 0.92
    """Views are averaged where the anchor's mean confidence is below, p_th; above 1: always, 0: never."""

    steps: int = 1
    """Steps per batch."""

    least_gradient: float = 0.0
    """Minimum gradient norm of a step; below it nothing moves: Adam would amplify rounding errors."""


class Stepped(NamedTuple):
    """The result of a batch."""

    answer: Tensor
    """Logits (B, K), of the teacher before the last step."""
    confidence: float
    """The anchor's, mean over the batch."""
    viewed: bool
    """Whether views were averaged."""
    loss: Tensor
    """(B,), of the last step."""
    student: Tensor
    """Logits (B, K)."""
    moved: bool
    """Whether the last step was applied."""


class Adaptation:
    """Student, teacher and anchor. One thread uses it.

    Args:
        model: In eval mode, its batch norms replaced; its own weights are not changed.
        optimizer: Has the student's weights, which adapt.
        anchor: Every weight of the source, by name.
        recipe: The parameters of a step.
        device: Where all of them are; None: with the processor.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: Optimizer,
        anchor: Weights,
        recipe: Recipe,
        device: Device | None = None,
    ) -> None:
        self._device = device or Device()
        self._model, self.optimizer, self._recipe = model, optimizer, recipe
        self.anchor = dict(anchor)
        self.teacher = {name: each.clone() for name, each in self.anchor.items()}

    def logits(self, weights: Weights, x: Tensor) -> Tensor:
        """Of the model with other weights, with its current normalisation."""
        found: Tensor = torch.func.functional_call(self._model, {**self.anchor, **weights}, (x,))
        return found

    def answer(self, x: Tensor) -> Tensor:
        """The teacher's logits (B, K), with this batch's statistics."""
        with torch.no_grad():
            return self.logits(self.teacher, x)

    def distance(self) -> float:
        """Distance of the teacher from the source, as a share of the source's norm."""
        squares = [(self.teacher[name] - each).double().square().sum() for name, each in self.anchor.items()]
        squares += [each.double().square().sum() for each in self.anchor.values()]
        numbers = self._device.fetch(torch.stack(squares)).tolist()
        # one after the other: since Python 3.12 the built-in `sum` rounds otherwise
        moved, whole = (reduce(add, some) for some in (numbers[: len(self.anchor)], numbers[len(self.anchor) :]))
        return float((moved / max(whole, 1e-30)) ** 0.5)

    def copy(self) -> Adaptation:
        """Another one with the same student and teacher, which steps of this one do not change."""
        other = Adaptation(self._model, deepcopy(self.optimizer), self.anchor, self._recipe, self._device)
        other.teacher = dict(self.teacher)  # a step makes new tensors
        return other

    def state(self) -> dict[str, Array]:
        """Student with its optimizer, and teacher, copied."""
        found = {f"student.{name}": np.array(array) for name, array in self.optimizer.tensors().items()}
        teacher = self._device.fetch_all(self.teacher)
        return found | {f"teacher.{name}": np.array(array) for name, array in teacher.items()}

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Become the one of this `state()`."""
        prefix = "student."
        student = {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
        self.optimizer.restore(student)
        self.teacher = {name: self._device.own(tensors[f"teacher.{name}"]) for name in self.anchor}

    def step(self, x: Tensor, views: Views, masks: Masks) -> Stepped:
        """Predict a batch (B, …), then learn from it."""
        for _ in range(self._recipe.steps):
            done = self._once(x, views, masks)
        return done

    def _once(self, x: Tensor, views: Views, masks: Masks) -> Stepped:
        recipe = self._recipe
        with torch.no_grad():
            confidence = 1.0
            if 0 < recipe.threshold <= 1:
                confidence = self._device.number(self.logits({}, x).softmax(1).amax(1).mean())
            viewed = confidence < recipe.threshold or recipe.threshold > 1
            target = self._averaged(x, views) if viewed else self.logits(self.teacher, x)
        leaves = {name: each.detach().requires_grad_() for name, each in self.optimizer.weights.items()}
        student = self.logits(leaves, x)
        loss = _loss(recipe.loss, student, target)
        if not leaves:
            return Stepped(target, confidence, viewed, loss, student, moved=False)
        gradients = torch.autograd.grad(loss.mean(), list(leaves.values()), allow_unused=True)
        found = {name: gradient for name, gradient in zip(leaves, gradients) if gradient is not None}
        squares = torch.stack([gradient.double().square().sum() for gradient in found.values()])
        size = self._device.number(squares.sum().sqrt())
        moved = size >= recipe.least_gradient and size < float("inf")
        if moved:
            self.optimizer.step(found)
            self._average()
            self._restore(masks)
        return Stepped(target, confidence, viewed, loss.detach(), student.detach(), moved)

    def _averaged(self, x: Tensor, views: Views) -> Tensor:
        total, count = None, 0
        for view in views(x):
            logits = self.logits(self.teacher, view)
            total, count = logits if total is None else total + logits, count + 1
        assert total is not None
        return total / count

    def _average(self) -> None:
        for name, student in self.optimizer.weights.items():
            share = self._recipe.average
            self.teacher[name] = self.teacher[name] * share + student * (1.0 - share)

    def _restore(self, masks: Masks) -> None:
        if not self._recipe.restore:
            return
        for name, student in self.optimizer.weights.items():
            self.optimizer.weights[name] = torch.where(masks(name, student), self.anchor[name], student)


def _loss(kind: str, student: Tensor, target: Tensor) -> Tensor:
    """Per row, (B,)."""
    ours = student.log_softmax(1)
    if kind == "entropy":
        return -(ours.exp() * ours).sum(1)
    theirs = target.log_softmax(1)
    forward = -(theirs.exp() * ours).sum(1)
    return forward if kind == "cross_entropy" else 0.5 * forward - 0.5 * (ours.exp() * theirs).sum(1)
