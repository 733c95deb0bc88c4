"""The stabilised steps of later methods, on scale and shift of the norm layers, each batch answered before its step.

Rough re-implementations to be compared with, as their papers describe them, with the settings they give for small
pictures: SAR (Niu et al., ICLR 2023), EATA (Niu et al., ICML 2022), ROID (Marsden et al., WACV 2024). None follows
statistics from batch to batch: each batch is normalised by its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.models.parts.torch_setup import Tensor, functional, torch

BATCH = 50
_MARGIN = 0.4
"""Of SAR and EATA: rows with more entropy than this share of the largest possible are left out."""


def _entropy(logits: Tensor) -> Tensor:
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(1)


class Successor:
    """A method: `answer` gives the logits (B, K) of a batch (B, …), then takes its step."""

    rate, reach = 1e-3, 0.05

    def __init__(self, model: torch.nn.Module, clean: Tensor) -> None:
        self.model = model.eval()
        self.weights: list[Tensor] = []
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.train()
                module.track_running_stats, module.running_mean, module.running_var = False, None, None
                self.weights += [module.weight, module.bias]
        for each in model.parameters():
            each.requires_grad_(any(each is one for one in self.weights))
        self.source = [each.detach().clone() for each in self.weights]
        self.optimizer = torch.optim.SGD(self.weights, self.rate, momentum=0.9)
        self.prepare(clean)

    def prepare(self, clean: Tensor) -> None:
        """What is known from pictures (N, …) without corruption."""

    def step(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def answer(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class Sar(Successor):
    """Entropy of the sure rows, at the worst point near the weights; all is taken back when it is nearly 0."""

    recent: float | None = None

    def answer(self, x: Tensor) -> Tensor:
        logits = self.model(x)
        entropy = _entropy(logits)
        most = _MARGIN * float(np.log(logits.shape[1]))
        sure = entropy < most
        if not sure.any():
            return logits.detach()
        gradients = torch.autograd.grad(entropy[sure].mean(), self.weights)
        size = torch.stack([each.norm() for each in gradients]).norm() + 1e-12
        with torch.no_grad():
            kept = [each.clone() for each in self.weights]
            for each, gradient in zip(self.weights, gradients):
                each += self.reach * gradient / size
        worse = _entropy(self.model(x))[sure]
        worse = worse[worse < most]
        loss = worse.mean() if len(worse) else worse.sum()
        self.optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            for each, before in zip(self.weights, kept):
                each.copy_(before)
        self.optimizer.step()
        now = float(loss.detach())
        self.recent = now if self.recent is None else 0.9 * self.recent + 0.1 * now
        if self.recent < 0.2:
            with torch.no_grad():
                for each, first in zip(self.weights, self.source):
                    each.copy_(first)
            self.recent = None
        return logits.detach()


class Eata(Successor):
    """Entropy of sure rows that are not like those before, weights held by their Fisher information on clean rows."""

    mean: Tensor | None = None

    def prepare(self, clean: Tensor) -> None:
        self.fisher = [torch.zeros_like(each) for each in self.weights]
        for part in clean.split(BATCH):
            logits = self.model(part)
            gradients = torch.autograd.grad(functional.cross_entropy(logits, logits.argmax(1)), self.weights)
            for kept, gradient in zip(self.fisher, gradients):
                kept += gradient**2 * BATCH / len(clean)

    def answer(self, x: Tensor) -> Tensor:
        logits = self.model(x)
        entropy, shares = _entropy(logits), logits.detach().softmax(1)
        most = _MARGIN * float(np.log(logits.shape[1]))
        chosen = entropy < most
        if self.mean is not None:
            chosen = chosen & (functional.cosine_similarity(self.mean[None], shares).abs() < _MARGIN)
        if chosen.any():
            sure = shares[chosen].mean(0)
            self.mean = sure if self.mean is None else 0.9 * self.mean + 0.1 * sure
            weight = torch.exp(most - entropy[chosen].detach())
            held = sum(
                (kept * (each - first) ** 2).sum() for kept, each, first in zip(self.fisher, self.weights, self.source)
            )
            self.step((weight * entropy[chosen]).mean() + 2000.0 * held)
        return logits.detach()


class Roid(Successor):
    """Soft likelihood ratio, by certainty and diversity; averaged with the source; prior correction."""

    mean: Tensor | None = None

    def answer(self, x: Tensor) -> Tensor:
        logits = self.model(x)
        shares = logits.softmax(1)
        known = shares.detach()
        classes = known.shape[1]
        mean = torch.full((classes,), 1 / classes) if self.mean is None else self.mean
        other = 1 - functional.cosine_similarity(mean[None], known)
        other = (other - other.min()) / (other.max() - other.min() + 1e-9)
        sure = -_entropy(logits.detach())
        sure = (sure - sure.min()) / (sure.max() - sure.min() + 1e-9)
        weight = torch.exp(3.0 * other * sure)
        weight[other < mean.max()] = 0.0
        self.mean = 0.9 * mean + 0.1 * known.mean(0)
        bounded = shares * 0.99 + 0.005
        ratio = -(shares * torch.log(bounded / (1 - bounded))).sum(1)
        taken = weight > 0
        loss = (ratio * weight)[taken].sum() / len(x)
        if taken.any():
            moved = self.model(x[taken].flip(3))
            pairs = ((logits[taken], moved), (moved, logits[taken]))
            both = sum(-(one.detach().softmax(1) * two.log_softmax(1)).sum(1) for two, one in pairs)
            loss = loss + (both * weight[taken]).sum() / len(x)
            self.step(loss)
        with torch.no_grad():
            for each, first in zip(self.weights, self.source):
                each.lerp_(first, 0.01)
        prior = known.mean(0)
        smooth = max(1 / len(x), 1 / classes) / float(prior.max())
        return torch.log(known * (prior + smooth) / (1 + smooth * classes) + 1e-30)


METHODS: dict[str, Callable[..., Successor]] = {"SAR": Sar, "EATA": Eata, "ROID-like": Roid}


def error(
    method: str, model: torch.nn.Module, clean: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[Any]
) -> float:
    """Error in % over a stream, by 50."""
    made = METHODS[method](model, torch.from_numpy(clean))
    wrong = []
    for start in range(0, len(x), BATCH):
        answer = made.answer(torch.from_numpy(x[start : start + BATCH]))
        wrong.append(answer.argmax(1).numpy() != y[start : start + BATCH])
    return 100 * float(np.concatenate(wrong).mean())
