"""Arrays and tables of forms that nobody listed: they give what the plain array gives, or say how to make one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from scipy import sparse

import thalweg
from thalweg.ops.notebook.values import FrameError

ROWS = np.random.default_rng(0).normal(size=(40, 3))
LABELS = np.where(ROWS[:, 0] > 0, "up", "down")
NAMES = ("a", "b", "c")


def learned(given: Any, labels: Any = LABELS) -> Any:
    return thalweg.Model("ridge").learn(given, labels).predict_proba(ROWS)


@pytest.fixture(scope="module")
def expected() -> Any:
    return learned(ROWS)


TABLES: dict[str, Any] = {
    "lists": ROWS.tolist(),
    "tuples": tuple(map(tuple, ROWS.tolist())),
    "rows of arrays": list(ROWS),
    "objects": ROWS.astype(object),
    "matrix": ROWS.view(np.matrix),
    "masked": np.ma.masked_invalid(ROWS),
    "torch": torch.tensor(ROWS),
    "torch that is learned": torch.tensor(ROWS, requires_grad=True),
    "torch strided": torch.tensor(ROWS.T.copy()).T,
    "torch sparse": torch.tensor(ROWS).to_sparse(),
}


@pytest.mark.parametrize("name", TABLES)
def test_an_array_of_another_form_is_what_the_plain_one_is(name: str, expected: Any) -> None:
    assert np.array_equal(learned(TABLES[name]), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_short_floats_of_torch_are_numbers(dtype: torch.dtype) -> None:
    short = torch.tensor(ROWS).to(dtype)

    assert np.array_equal(learned(short), learned(short.float().numpy()))


@pytest.mark.parametrize(
    "labels",
    [
        pa.array(LABELS),
        pa.chunked_array([pa.array(LABELS[:9]), pa.array(LABELS[9:])]),
        pa.array(LABELS).dictionary_encode(),
        pd.DataFrame({"y": LABELS}),
        pl.DataFrame({"y": LABELS}),
        LABELS.reshape(-1, 1),
        LABELS.astype(object),
        pd.Categorical(LABELS),
    ],
    ids=["arrow", "chunks", "dictionary", "pandas table", "polars table", "(N, 1)", "objects", "categorical"],
)
def test_labels_of_another_form_are_what_a_list_is(labels: Any, expected: Any) -> None:
    assert np.array_equal(learned(ROWS, labels), expected)


def test_numbers_of_torch_are_labels_and_weights() -> None:
    numbers, weights = torch.tensor(ROWS[:, 1]), torch.rand(40, generator=torch.Generator().manual_seed(0))
    ours = thalweg.Model("ridge").learn(ROWS, numbers, weights=weights)
    plain = thalweg.Model("ridge").learn(ROWS, numbers.numpy(), weights=weights.numpy())

    assert np.array_equal(ours.predict(ROWS), plain.predict(ROWS))


def test_a_structured_array_and_a_reader_are_columns() -> None:
    table = pd.DataFrame(ROWS, columns=NAMES)
    plain = thalweg.Model("ridge").learn(table, LABELS).predict_proba(table).to_numpy()
    structured = np.array(list(map(tuple, ROWS)), dtype=[(name, "f8") for name in NAMES])
    reader = pa.Table.from_pandas(table).to_reader()

    for given in (structured, reader):
        assert np.array_equal(thalweg.Model("ridge").learn(given, LABELS).predict_proba(table).to_numpy(), plain)


@pytest.mark.parametrize("column", [torch.tensor(ROWS[:, 0]), pa.array(ROWS[:, 0]), pd.array(ROWS[:, 0])])
def test_a_column_of_a_mapping_may_be_of_any_library(column: Any) -> None:
    asked = {"a": ROWS[:, 0]}

    found = thalweg.Model("ridge").learn({"a": column}, LABELS).predict_proba(asked)

    plain = thalweg.Model("ridge").learn(asked, LABELS).predict_proba(asked)
    assert all(np.array_equal(found[name], plain[name]) for name in plain)


def test_what_is_masked_is_missing() -> None:
    masked = np.ma.masked_less(ROWS, -1)
    columns = thalweg.Model("ridge").learn({"a": masked[:, 0], "b": ROWS[:, 1]}, LABELS)
    plain = thalweg.Model("ridge").learn({"a": np.where(ROWS[:, 0] < -1, np.nan, ROWS[:, 0]), "b": ROWS[:, 1]}, LABELS)

    assert columns.fold.learner.state().tensors.keys() == plain.fold.learner.state().tensors.keys()
    asked = {"a": ROWS[:, 0], "b": ROWS[:, 1]}
    assert list(columns.predict(asked)) == list(plain.predict(asked))
    with pytest.raises(FrameError, match="input 'features', row"):
        thalweg.Model("ridge").learn(masked, LABELS)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (sparse.csr_matrix(ROWS), r"got csr_matrix; \.toarray\(\) makes one"),
        ([[1, 2], [3]], "expected rows of one length, got 1, 2"),
        ([[1, "x"], [2, "y"]], "expected rows of numbers, or columns by name"),
    ],
)
def test_what_is_no_array_says_what_is(given: Any, told: str) -> None:
    with pytest.raises(FrameError, match=told):
        thalweg.Model("ridge").learn(given, ["a", "b"])
