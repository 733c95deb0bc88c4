"""Values of columns, however they are written."""

from __future__ import annotations

from typing import Any

import pytest

from thalweg.proto.rejected import Refused
from thalweg.proto.rows.column import Column
from thalweg.proto.rows.values import column_array


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("numeric", [1.5], 1.5),
        ("numeric", ["1.5"], 1.5),
        ("boolean", ["yes"], 1.0),
        ("boolean", [False], 0.0),
        ("datetime", ["1970-01-01T00:01:00Z"], 60.0),
        ("datetime", [60], 60.0),
        ("categorical", ["DE"], b"DE"),
        ("hashed", [7], b"7"),
        ("text", ["a b"], b"a b"),
    ],
)
def test_a_list_of_one_value_is_that_value(kind: Any, value: Any, expected: Any) -> None:
    column = Column(name="x", kind=kind)

    assert column_array(column, [value]).tolist() == [expected]
    assert column_array(column, [value, value[0], None])[:2].tolist() == [expected] * 2
    for several in ([], [value[0], value[0]], [[value[0]]]):
        with pytest.raises(Refused, match=f"column 'x', {kind}: expected"):
            column_array(column, [several])


def test_a_list_of_one_local_number_is_that_number() -> None:
    assert column_array(Column(name="x", kind="numeric", format="1.234,5"), [["1.234,5"]]).tolist() == [1234.5]
