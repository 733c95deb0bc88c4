"""The latest inputs of each caller: features and predictions, as many as a window holds, and a class prior.

What is kept of an input is what `lame` needs of it: the features from which its class is read, scaled to length 1, and
its probabilities. A window is used while the caller's own prior says that its classes come in runs: where they do not,
inputs that look alike are often of different classes, and correcting them together does harm. Bounded: the caller who
was not heard for longest is dropped for a new one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.models.contract.learner import ParamsError
from thalweg.models.cotta.class_prior import ClassPrior
from thalweg.models.parts.input_columns import InputColumns
from thalweg.models.parts.torch_setup import Tensor, functional, torch
from thalweg.proto.schema import Array, Inputs, TensorSpec


class CallerColumn:
    """The input that says who asks: an id, if there is one.

    Args:
        specs: All inputs.
        name: Of that input; empty: all are one caller.

    Raises:
        ParamsError: There is no such input, or it holds no ids; key `caller`.
    """

    def __init__(self, specs: Mapping[str, TensorSpec], name: str) -> None:
        self.specs: dict[str, TensorSpec] = {}
        if name:
            spec = specs.get(name)
            if spec is None or spec.dtype != "int64" or spec.shape != ():
                known = ", ".join(specs)
                wanted = f"expected an input of shape [] and dtype int64 among {known}"
                raise ParamsError({"caller": f"{wanted}, got {name!r}" + (f", {spec.dtype}" if spec else "")})
            self.specs = {name: TensorSpec(name, "int64", (), ids=True)}
        self._columns = InputColumns(self.specs) if name else None

    def split(self, inputs: Inputs) -> tuple[NDArray[np.int64], Inputs]:
        """Callers (N,), and the other inputs. Raises InputError."""
        if self._columns is None:
            return np.zeros(len(next(iter(inputs.values()), ())), dtype=np.int64), inputs
        own = {name: array for name, array in inputs.items() if name in self.specs}
        callers = self._columns.gather(own).reshape(-1).astype(np.int64)
        return callers, {name: array for name, array in inputs.items() if name not in self.specs}


class Before(NamedTuple):
    """What came before each of N rows; nothing where its caller is unknown, or its classes do not come in runs."""

    features: Array
    """(N, W, D), of length 1; D is 0 before any input."""
    shares: Array
    """Probabilities (N, W, K)."""
    held: NDArray[np.bool_]
    """Which places hold an input, (N, W)."""
    factors: Array
    """What probabilities are multiplied by, (N, K); NaN where nothing came before."""


class Window:
    """What is known of callers. One thread uses it.

    Args:
        rows: Inputs kept of each, W.
        callers: Callers kept, at most.
        classes: Outputs, K.
    """

    def __init__(self, rows: int, callers: int, classes: int) -> None:
        self._rows, self._callers, self._classes = rows, callers, classes
        self._priors: list[ClassPrior] = []
        self._ids = np.zeros(0, dtype=np.int64)
        self._heard = np.zeros(0, dtype=np.int64)  # when last, counted in inputs
        self._counts = np.zeros(0, dtype=np.int64)  # inputs ever seen of each
        self._features = np.zeros((0, rows, 0), dtype=np.float32)
        self._shares = np.zeros((0, rows, classes), dtype=np.float32)
        self._seen = 0

    def take(self, callers: NDArray[np.int64], features: Array, shares: Array) -> None:
        """Inputs in order: callers (B,), features (B, D), probabilities (B, K); finite ones only."""
        sound = np.isfinite(features).all(axis=1) & np.isfinite(shares).all(axis=1)
        if self._features.shape[2] != features.shape[1]:  # the first ones say how wide they are
            self._features = np.zeros((0, self._rows, features.shape[1]), dtype=np.float32)
        for row in np.flatnonzero(sound):
            place = self._place(int(callers[row]))
            at = self._counts[place] % self._rows
            self._features[place, at], self._shares[place, at] = features[row], shares[row]
            self._heard[place] = self._seen
            self._counts[place] += 1
            self._seen += 1
        for caller in np.unique(callers[sound]):
            if len(known := np.flatnonzero(self._ids == caller)):  # unless dropped again within these inputs
                self._priors[int(known[0])].take(shares[sound & (callers == caller)].astype(np.float64))

    def _place(self, caller: int) -> int:
        known = np.flatnonzero(self._ids == caller)
        if len(known):
            return int(known[0])
        if len(self._ids) < self._callers:
            self._ids = np.append(self._ids, caller)
            self._priors.append(ClassPrior(self._classes))
            self._heard, self._counts = np.append(self._heard, 0), np.append(self._counts, 0)
            self._features = np.pad(self._features, ((0, 1), (0, 0), (0, 0)))
            self._shares = np.pad(self._shares, ((0, 1), (0, 0), (0, 0)))
            return len(self._ids) - 1
        place = int(self._heard.argmin())
        self._ids[place], self._counts[place] = caller, 0
        self._features[place], self._priors[place] = 0.0, ClassPrior(self._classes)
        return place

    def of(self, callers: NDArray[np.int64]) -> Before:
        """What came before rows of these callers (N,)."""
        count = len(callers)
        places = np.full(count, -1)
        for place, caller in enumerate(self._ids.tolist()):
            if self._priors[place].open:
                places[callers == caller] = place
        features = np.zeros((count, self._rows, self._features.shape[2]), dtype=np.float32)
        shares = np.zeros((count, self._rows, self._classes), dtype=np.float32)
        held = np.zeros((count, self._rows), dtype=bool)
        factors = np.full((count, self._classes), np.nan, dtype=np.float32)
        for row, place in enumerate(places):
            if place >= 0:
                features[row], shares[row] = self._features[place], self._shares[place]
                held[row] = np.arange(self._rows) < self._counts[place]
                factors[row] = self._priors[place].factors
        return Before(features, shares, held, factors)

    def tensors(self) -> dict[str, Array]:
        """Everything, copied: for a snapshot, and for a predictor."""
        found = {"ids": self._ids, "heard": self._heard, "counts": self._counts, "seen": np.array([self._seen])}
        for name, each in ClassPrior(self._classes).tensors().items():
            known = [prior.tensors()[name] for prior in self._priors]
            found[f"prior.{name}"] = np.stack(known) if known else np.zeros((0, *each.shape))
        return {
            name: each.copy() for name, each in {**found, "features": self._features, "shares": self._shares}.items()
        }

    @classmethod
    def holding(cls, tensors: Mapping[str, Array]) -> Window:
        """The one whose `tensors()` these are, as a predictor needs it."""
        callers, rows, classes = tensors["shares"].shape
        made = cls(rows, max(callers, 1), classes)
        made.restore(tensors)
        return made

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Become the one whose `tensors()` these are; of other sizes, begin."""
        callers, rows, _ = tensors["shares"].shape
        if rows != self._rows or callers > self._callers:
            return
        self._ids, self._heard, self._counts = (np.array(tensors[name]) for name in ("ids", "heard", "counts"))
        self._features, self._shares = np.array(tensors["features"]), np.array(tensors["shares"])
        self._seen, self._priors = int(tensors["seen"][0]), []
        for place in range(callers):
            prior = ClassPrior(self._classes)
            prior.restore({name: tensors[f"prior.{name}"][place] for name in prior.tensors()})
            self._priors.append(prior)


@contextmanager
def features_of(model: torch.nn.Module | None) -> Iterator[list[Tensor]]:
    """What the last linear layer of the model is given in here by this thread, pass by pass, (N, D) of length 1; none
    without one. Other threads may compute with the model meanwhile.
    """
    thread = threading.get_ident()
    layers = [module for module in model.modules() if isinstance(module, torch.nn.Linear)] if model else []
    found: list[Tensor] = []

    def caught(_: torch.nn.Module, given: tuple[Tensor, ...]) -> None:
        if threading.get_ident() == thread:
            found.append(functional.normalize(given[0].detach().flatten(1), dim=1))

    if not layers:
        yield found
        return
    handle = layers[-1].register_forward_pre_hook(caught)
    try:
        yield found
    finally:
        handle.remove()
