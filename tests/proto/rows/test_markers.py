"""Markers of missing values where values are not Python's yet: binary records read together, and tensors."""

from __future__ import annotations

import numpy as np
import pytest

from thalweg.proto.rows.column import Column
from thalweg.proto.rows.lazy import Numbers, Texts
from thalweg.proto.rows.tensors import fitting
from thalweg.proto.rows.values import column_array
from thalweg.proto.schema import Schema, column_specs

MARKERS = ("?", "-999")


def test_numbers_that_were_read_together_are_missing_where_they_are_markers() -> None:
    found = column_array(
        Column(name="v", kind="numeric", missing_values=MARKERS), Numbers(np.array([1.0, -999.0, np.nan]))
    )

    np.testing.assert_array_equal(found, [1.0, np.nan, np.nan])


@pytest.mark.parametrize("kind", ["categorical", "hashed", "text"])
def test_texts_that_were_read_together_are_missing_where_they_are_markers(kind: str) -> None:
    pieces = [b"a", b" ?", None, b"-999.0", b"?!"]
    values = Texts(pieces, {piece: piece.decode() for piece in pieces if piece is not None})

    found = column_array(Column(name="v", kind=kind, missing_values=MARKERS), values)  # type: ignore[arg-type]

    assert found.tolist() == [b"a", b"", b"", b"", b"?!"]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_tensors_of_numbers_are_missing_where_they_are_markers(dtype: str) -> None:
    columns = {
        "one": Column(name="one", kind="numeric", missing_values=MARKERS),
        "two": Column(name="two", kind="list", length=2, missing_values=MARKERS),
        "plain": Column(name="plain", kind="numeric"),
    }
    fit = fitting(Schema(column_specs(columns), columns=columns))
    assert fit is not None

    found = fit(
        {
            "one": np.array([1, -999], dtype),
            "two": np.array([[1, -999]] * 2, dtype),
            "plain": np.array([-999] * 2, dtype),
        },
        2,
    )

    np.testing.assert_array_equal(found["one"], [1.0, np.nan])
    np.testing.assert_array_equal(found["two"], [[1.0, np.nan]] * 2)
    np.testing.assert_array_equal(found["plain"], [-999.0, -999.0])
