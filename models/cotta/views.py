"""Views of inputs with the same class: shifted and mirrored images, the published set, jitter."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from thalweg.memory.devices.device import beside
from thalweg.models.contract.learner import ParamsError
from thalweg.models.cotta.image_views import images
from thalweg.models.parts.torch_setup import Tensor, functional, torch
from thalweg.models.parts.user_modules import from_elsewhere, not_allowed
from thalweg.proto.schema import Array

Drawn = Callable[[Tensor, int, torch.Generator], Iterator[Tensor]]
"""This many views (B, …) of inputs (B, …), drawn by a generator of the processor: `beside(drawn, inputs)` brings a
tensor that was drawn to where the inputs are, so that views are the same on every device.
"""

_SHIFT, _JITTER = 1, 0.05
_HALF_LIFE = 200.0
"""In inputs."""
_SHARE, _LEAST = 0.9, 0.6
"""The agreement that is expected of a view: this share of the mean confidence, and at least this much."""
EVERY = 4
"""Batches per judgement; the first one is judged."""
_SERVED_SHIFTS = ((_SHIFT, 0), (0, _SHIFT), (_SHIFT, _SHIFT))


def find_views(name: str) -> Drawn:
    """The views of a name. Raises ParamsError, key `views`."""
    if name in _KNOWN:
        return _KNOWN[name]
    module, _, function = name.partition(":")
    if not function:
        known = ", ".join(_KNOWN)
        raise ParamsError({"views": f"expected one of {known}, or 'module:function', got {name!r}"})
    if why := not_allowed(module):
        raise ParamsError({"views": f"{name!r}: {why}"})
    try:
        found: Drawn = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ParamsError({"views": f"{name!r} cannot be imported: {error}"}) from error
    if why := from_elsewhere(found):
        raise ParamsError({"views": f"{name!r}: {why}"})
    return found


def mirrored(x: Tensor) -> Tensor:
    """Images (B, C, H, W) mirrored; other inputs unchanged."""
    return x.flip(3) if x.ndim == 4 else x


def served(x: Tensor, count: int) -> list[Tensor]:
    """The first `count` of what a prediction is averaged over, eight of images (B, C, H, W): as they are, mirrored,
    then moved by a pixel along each axis and both, every second one mirrored. Other inputs unchanged.
    """
    views = [x, mirrored(x)]
    if count > 2 and x.ndim == 4:
        height, width = x.shape[-2:]
        padded = [functional.pad(one, (_SHIFT,) * 4, mode="replicate") for one in views]
        for down, right in _SERVED_SHIFTS:
            for one, way in zip(padded, (1, -1)):
                top, left = _SHIFT + way * down, _SHIFT + way * right
                views.append(one[..., top : top + height, left : left + width])
    return views[:count]


def shifts(x: Tensor, count: int, generator: torch.Generator) -> Iterator[Tensor]:
    """The images themselves, mirrored, then shifted by a pixel, every second one mirrored too; `jitter` of inputs that
    are no images (B, C, H, W).
    """
    if x.ndim != 4:
        yield from jitter(x, count, generator)
        return
    yield x
    if count > 1:
        yield mirrored(x)
    height, width = x.shape[-2:]
    padded = functional.pad(x, (_SHIFT,) * 4, mode="replicate")
    for number in range(count - 2):
        down, right = torch.randint(0, 2 * _SHIFT + 1, (2,), generator=generator).tolist()
        moved = padded[..., down : down + height, right : right + width]
        yield mirrored(moved) if number % 2 else moved


def jitter(x: Tensor, count: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Each number moved by a twentieth of its column's standard deviation in the batch."""
    spread = x.std(0, correction=0, keepdim=True)
    for _ in range(count):
        yield x + _JITTER * spread * beside(torch.randn(x.shape, generator=generator), x)


def none(x: Tensor, count: int, generator: torch.Generator) -> Iterator[Tensor]:
    """The inputs unchanged."""
    yield x


_KNOWN: dict[str, Drawn] = {"shifts": shifts, "images": images, "jitter": jitter, "none": none}


class KeptViews:
    """Which views of an input are of its class, told by the source, without labels. One thread uses it.

    A view that changes its answers more often than its own confidence lets expect is of another class, and steps
    towards it spoil the network. Views are told apart by their place in the order in which they come.

    Args:
        count: Views of an input, N.
    """

    def __init__(self, count: int) -> None:
        self._agreed, self._sure, self._seen = np.zeros(count), 0.0, 0.0

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which views are averaged, (N,); all of them before the first judgement."""
        if not self._seen:
            return np.ones(len(self._agreed), dtype=np.bool_)
        wanted = max(_LEAST, _SHARE * self._sure / self._seen)
        return np.asarray(self._agreed / self._seen >= wanted, dtype=np.bool_)

    def judge(self, x: Tensor, views: Iterator[Tensor], answer: Callable[[Tensor], Array]) -> None:
        """Inputs (B, …), their views, and what gives the source's probabilities (B, K); finite ones count."""
        with torch.no_grad():
            shares, others = answer(x), [answer(view) for view in views]
        sound = np.isfinite(shares).all(axis=1)
        labels, decay = shares.argmax(axis=1), 0.5 ** (int(sound.sum()) / _HALF_LIFE)
        alike = np.zeros(len(self._agreed))
        for place, other in enumerate(others[: len(alike)]):
            alike[place] = np.count_nonzero(sound & (other.argmax(axis=1) == labels))
        self._agreed = decay * self._agreed + alike
        self._sure = decay * self._sure + float(shares[sound].max(axis=1).sum())
        self._seen = decay * self._seen + int(sound.sum())

    def of(self, x: Tensor, views: Iterator[Tensor]) -> Iterator[Tensor]:
        """Those views that are kept, of inputs x (B, …); x itself where none is."""
        kept = self.kept
        if not kept.any():
            yield x
            return
        for view, keep in zip(views, kept, strict=False):
            if keep:
                yield view

    def tensors(self) -> dict[str, Array]:
        """Everything, for a snapshot."""
        return {"agreed": self._agreed.copy(), "seen": np.array([self._sure, self._seen])}

    def restore(self, tensors: Mapping[str, Array]) -> None:
        """Become the one whose `tensors()` these are; with another number of views, or of a version without, begin."""
        if "agreed" in tensors and tensors["agreed"].shape == self._agreed.shape:
            self._agreed = np.array(tensors["agreed"])
            self._sure, self._seen = (float(one) for one in tensors["seen"])
