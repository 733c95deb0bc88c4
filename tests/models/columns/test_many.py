"""Tables of many columns."""

from __future__ import annotations

import numpy as np
import pytest

from thalweg.models.columns.layout import Layout, Span
from thalweg.models.columns.numbers import NumberColumns
from thalweg.proto.rows.column import Column


def test_no_column_is_compared_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout({name: Column(name=name, kind="numeric") for name in ("a", "b", "c")})

    def compared(_: Span, other: object) -> bool:
        raise AssertionError(f"compared with {other}")

    monkeypatch.setattr(Span, "__eq__", compared)

    values, _ = NumberColumns(layout).gather({name: np.full(2, 3.0) for name in "abc"}, 2)

    assert values.tolist() == [[3.0, 3.0]] * 3
