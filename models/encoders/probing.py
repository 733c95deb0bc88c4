"""Rows on which an encoder is tried before it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg.models.contract.learner import ParamsError
from thalweg.proto.schema import Array, Inputs, TensorSpec

_TEXTS = (b"", b"a", b"some words of a text", b"A longer one, with a few more words than the others have.")


def probe(inputs: Mapping[str, TensorSpec], rows: int) -> dict[str, Array]:
    """Rows of zeros, and of texts that are empty or one letter."""
    return {name: _column(one, [0] * rows, _TEXTS[:2]) for name, one in inputs.items()}


def shown_inputs(inputs: Mapping[str, TensorSpec]) -> str:
    """Inputs by shape, and by name and dtype where it matters, for messages."""
    if len(inputs) == 1:
        (one,) = inputs.values()
        return f"shape {list(one.shape)}" if one.dtype == "float32" else f"shape {list(one.shape)} {one.dtype}"
    return "shapes " + ", ".join(f"{name} {list(one.shape)} {one.dtype}" for name, one in inputs.items())


class Tried(NamedTuple):
    """What a few rows have shown of an encoder."""

    notes: list[str]
    """What to tell of it."""
    by_itself: bool
    """Whether a row that is encoded without others has the same bits as within a tile."""


def check_rows(
    name: str, encode: Callable[[Inputs], Array], inputs: Mapping[str, TensorSpec], rows: int, zeros: Array
) -> Tried:
    """Refuse an encoder that gives a row other features beside other rows: what is learned would depend on how the log
    is cut into batches, and answers on who asks at the same time. Refuse one that gives the same rows other features
    each time, and one that never gives numbers.

    Args:
        name: Of the encoder.
        encode: What it does.
        inputs: What it takes.
        rows: Rows of a tile.
        zeros: What it gave for rows of zeros, (rows, F).

    Raises:
        ParamsError: It is one of these; key `encoder`.
    """
    trial = _Trial(name, encode, rows, [as_features(zeros)])
    generator = np.random.default_rng(0)
    trial.compare(_mixed(inputs, generator.random(rows)))
    # as far apart as numbers of an event may be, and more than one tile
    trial.compare(_mixed(inputs, 100.0 * generator.normal(size=_TILES * rows)))
    trial.repeat(probe(inputs, rows), trial.given[0])
    finite = np.concatenate([np.isfinite(one).all(axis=1) for one in trial.given])
    if not finite.any():
        text = f"expected numbers from {name!r}, got NaN or infinities for each of {len(finite)} rows, zeros and others"
        raise ParamsError({"encoder": text})
    told = f"gives NaN or infinities for {(~finite).sum()} of the {len(finite)} rows that it was tried with"
    return Tried([] if finite.all() else [told], trial.by_itself and len(trial.given) > 1)


def as_features(found: Any) -> NDArray[np.float32]:
    """What a learner receives of what an encoder gave: too large a number is an infinity."""
    with np.errstate(over="ignore"):
        return np.asarray(found).astype(np.float32, copy=False)


def _mixed(inputs: Mapping[str, TensorSpec], floats: Array) -> dict[str, Array]:
    whole = [row % 2 for row in range(len(floats))]
    return {name: _column(one, floats if "float" in one.dtype else whole, _TEXTS) for name, one in inputs.items()}


class _Trial:
    """An encoder on rows alone, together and again; what it gave is kept."""

    def __init__(self, name: str, encode: Callable[[Inputs], Array], rows: int, given: list[Array]) -> None:
        self._name, self._encode, self._rows = name, encode, rows
        self.given, self.by_itself = given, True

    def compare(self, mixed: Inputs) -> None:
        """Of rows of one tile to the bit; of more, and of a few of them, up to rounding."""
        count = len(next(iter(mixed.values())))
        exact = count <= self._rows
        try:
            together = as_features(self._encode(mixed))
        except Exception:  # it does not take such values: nothing is known, and nothing is refused
            return
        if exact:
            self.repeat(mixed, together)
        for row in range(count if exact else _FEW):
            self.by_itself = self.by_itself and self._is_equal(mixed, [row], 0, together[row], exact=exact)
            tile = [row] * self._rows
            if not self.by_itself and not self._is_equal(mixed, tile, row, together[row], exact=exact):
                raise ParamsError({"encoder": f"{self._name!r} gives a row other features beside other rows{_WHY}"})
        self.given.append(together)

    def repeat(self, rows: Inputs, before: Array) -> None:
        """Refuse one that gave these rows other features before."""
        try:
            again = as_features(self._encode(rows))
        except Exception:  # as in `compare`
            return
        if not _alike(again, before):
            raise ParamsError({"encoder": f"{self._name!r} gives the same rows other features each time{_AGAIN}"})

    def _is_equal(self, mixed: Inputs, rows: list[int], place: int, wanted: Array, *, exact: bool) -> bool:
        """Whether the one at this place of these rows, encoded together, is as wanted."""
        try:
            found = as_features(self._encode({name: array[rows] for name, array in mixed.items()}))
        except Exception:  # it takes whole tiles alone, or not such values
            return len(rows) > 1
        if found.shape != (len(rows), len(wanted)):
            return False
        return bool(np.array_equal(found[place], wanted, equal_nan=True)) if exact else _alike(found[place], wanted)


def _alike(one: Array, other: Array) -> bool:
    """Up to rounding: a product of more rows may be summed in another order."""
    size = np.abs(np.nan_to_num(one.astype(np.float64), posinf=0.0, neginf=0.0)).max(initial=0.0)
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=1e-3, atol=1e-4 * size, equal_nan=True))


_TILES = 3
_FEW = 4  # rows compared alone: one for each text
_WHY = (
    ", as one does that pads texts to the longest of a batch or normalises over it; pad to a fixed length, and compute "
    "each row by itself"
)
_AGAIN = (
    ", as one does that draws at random (dropout, noise) or follows a running mean; expected a function of its inputs: "
    "draw once, with a seed, when it is made, and take a module's `eval()`"
)


def _column(spec: TensorSpec, values: object, texts: tuple[bytes, ...]) -> Array:
    """One value or text per row, repeated over its shape."""
    numbers = np.asarray(values)
    shape = (len(numbers), *spec.shape)
    if spec.dtype == "bytes":
        found = np.empty(shape, dtype=object)
        for row in range(len(numbers)):
            found[row] = (
                texts[row % len(texts)] if not spec.shape else np.full(spec.shape, texts[row % len(texts)], object)
            )
        return found
    column = np.broadcast_to(numbers.reshape(-1, *[1] * len(spec.shape)), shape)
    return np.ascontiguousarray(column).astype(spec.dtype)
