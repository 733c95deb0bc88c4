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


def check_rows_are_independent(
    name: str, encode: Callable[[Inputs], Array], inputs: Mapping[str, TensorSpec], rows: int
) -> None:
    """Refuse an encoder that gives a row other features beside other rows: what is learned would depend on how the log
    is cut into batches, and answers on who asks at the same time.

    Raises:
        ParamsError: It does; key `encoder`.
    """
    generator = np.random.default_rng(0)
    mixed = {
        each: _column(one, generator.random(rows) if "float" in one.dtype else [row % 2 for row in range(rows)], _TEXTS)
        for each, one in inputs.items()
    }
    try:
        together = np.asarray(encode(mixed))
        for row in range(rows):
            alone = np.asarray(encode({each: array[[row] * rows] for each, array in mixed.items()}))
            if not np.array_equal(alone[row], together[row], equal_nan=True):
                raise ParamsError({"encoder": f"{name!r} gives a row other features beside other rows{_WHY}"})
    except ParamsError:
        raise
    except Exception:  # it does not take such values: nothing is known, and nothing is refused
        return


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
