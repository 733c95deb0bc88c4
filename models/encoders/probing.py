"""Rows on which an encoder is tried before it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

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


def check_rows(
    name: str, encode: Callable[[Inputs], Array], inputs: Mapping[str, TensorSpec], rows: int, zeros: Array
) -> list[str]:
    """Refuse an encoder that gives a row other features beside other rows: what is learned would depend on how the log
    is cut into batches, and answers on who asks at the same time. Refuse one that never gives numbers.

    Args:
        name: Of the encoder.
        encode: What it does.
        inputs: What it takes.
        rows: Rows of a tile.
        zeros: What it gave for rows of zeros, (rows, F).

    Returns:
        What to tell of it.

    Raises:
        ParamsError: It is one of these; key `encoder`.
    """
    tried = [zeros]
    generator = np.random.default_rng(0)
    _compare(name, encode, _mixed(inputs, generator.random(rows)), rows, tried, exact=True)
    # as far apart as numbers of an event may be, and more than one tile
    _compare(name, encode, _mixed(inputs, 100.0 * generator.normal(size=_TILES * rows)), rows, tried, exact=False)
    finite = np.concatenate([np.isfinite(one).all(axis=1) for one in tried])
    if not finite.any():
        text = f"expected numbers from {name!r}, got NaN or infinities for each of {len(finite)} rows, zeros and others"
        raise ParamsError({"encoder": text})
    if finite.all():
        return []
    return [f"gives NaN or infinities for {(~finite).sum()} of the {len(finite)} rows that it was tried with"]


def _mixed(inputs: Mapping[str, TensorSpec], floats: Array) -> dict[str, Array]:
    whole = [row % 2 for row in range(len(floats))]
    return {name: _column(one, floats if "float" in one.dtype else whole, _TEXTS) for name, one in inputs.items()}


def _compare(
    name: str, encode: Callable[[Inputs], Array], mixed: Inputs, rows: int, tried: list[Array], *, exact: bool
) -> None:
    """Compare the features of some rows, alone and beside the others; what was tried is added to `tried`."""
    try:
        together = np.asarray(encode(mixed))
        for row in range(rows if exact else _FEW):
            alone = np.asarray(encode({each: array[[row] * rows] for each, array in mixed.items()}))[row]
            same = np.array_equal if exact else _alike
            if not same(alone, together[row], equal_nan=True):
                raise ParamsError({"encoder": f"{name!r} gives a row other features beside other rows{_WHY}"})
    except ParamsError:
        raise
    except Exception:  # it does not take such values: nothing is known, and nothing is refused
        return
    tried.append(together)


def _alike(one: Array, other: Array, *, equal_nan: bool) -> bool:
    """Up to rounding: a product of more rows may be summed in another order."""
    size = np.abs(np.nan_to_num(one.astype(np.float64), posinf=0.0, neginf=0.0)).max(initial=0.0)
    return bool(np.allclose(one, other, rtol=1e-3, atol=1e-4 * size, equal_nan=equal_nan))


_TILES = 3
_FEW = 4  # rows compared alone: one for each text
_WHY = (
    ", as one does that pads texts to the longest of a batch or normalises over it; pad to a fixed length, and compute "
    "each row by itself"
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
