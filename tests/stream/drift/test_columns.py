"""Which numbers of named columns drift is watched in."""

from __future__ import annotations

import numpy as np

from tests.models.columns.samples import texts
from thalweg.models.columns.settings import columns_of
from thalweg.proto.schema import column_specs
from thalweg.stream.drift.columns import WatchedColumns


def test_a_number_is_watched_as_it_is_a_text_by_its_hash_and_what_is_missing_as_missing() -> None:
    columns = columns_of({"amount": "numeric", "country": "categorical", "when": "datetime"})
    watched = WatchedColumns(column_specs(columns), 10, columns=columns)

    rows = watched.of(
        {
            "amount": np.array([1.5, np.nan, 1e300]),
            "country": texts(["DE", "", "DE"]),
            "when": np.array([1.7e9, 1.7e9, np.nan]),
        }
    )

    assert (watched.names, watched.categorical) == (["amount", "country"], [False, True])
    assert rows[0, 0] == 1.5
    assert np.isnan(rows[1]).all()
    assert np.isinf(rows[2, 0])
    assert rows[0, 1] == rows[2, 1] == np.float32(int(rows[0, 1]))


def test_texts_that_are_no_columns_are_not_watched() -> None:
    columns = columns_of({"country": "categorical"})

    assert WatchedColumns(column_specs(columns), 10).names == []
