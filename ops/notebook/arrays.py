"""Arrays of other libraries and forms as NumPy's own: tensors of torch, lists of rows, masked and structured arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from thalweg.ops.notebook.values import FrameError


def table_of(given: Any) -> Any:
    """What a table is for the rest: a plain array, a mapping of columns by name, or the table as it came.

    Raises:
        FrameError: It is of a kind that is not taken; the message says how to make one that is.
    """
    if _is_torch(given):
        return _of_torch(given)
    if hasattr(given, "toarray") and type(given).__module__.startswith("scipy.sparse"):
        raise FrameError(f"expected a table or an array (N, F), got {type(given).__name__}; .toarray() makes one")
    if type(given).__name__ == "RecordBatchReader" and hasattr(given, "read_all"):
        return given.read_all()
    if isinstance(given, np.ndarray):
        return _plain(given)
    if isinstance(given, list | tuple) and given and not isinstance(given[0], Mapping):
        return _of_rows(list(given))
    return given


def column_of(given: Any) -> Any:
    """What a column is for the rest: of torch, of Arrow, a table of one column."""
    if _is_torch(given):
        given = _of_torch(given)
    if hasattr(given, "to_pylist"):
        return given.to_pylist()
    if type(given).__module__.partition(".")[0] == "pandas" and hasattr(given, "_from_sequence"):  # an array of its own
        return list(given)
    if isinstance(given, np.ndarray):
        given = _plain(given)
    columns = getattr(given, "columns", None)
    if columns is not None and len(columns) == 1:
        return given[columns[0]]
    return given


def labels_of(given: Any) -> Any:
    """As `column_of`; labels (N, 1) are one a row."""
    found = column_of(given)
    return found[:, 0] if isinstance(found, np.ndarray) and found.ndim == 2 and found.shape[1] == 1 else found


def _is_torch(given: Any) -> bool:
    return type(given).__module__.partition(".")[0] == "torch" and hasattr(given, "detach")


def _of_torch(given: Any) -> Any:
    there = given.detach().cpu()
    if there.is_sparse:
        there = there.to_dense()
    return (there.float() if str(there.dtype) == "torch.bfloat16" else there).numpy()


def _plain(given: Any) -> Any:
    if given.dtype.names:  # structured: its fields are columns
        return {name: _plain(given[name]) for name in given.dtype.names}
    if isinstance(given, np.ma.MaskedArray):  # what is masked is missing
        whole = given.dtype.kind in "iub"
        return (
            np.ma.filled(given.astype(np.float64) if whole else given, np.nan) if given.dtype.kind in "fiub" else given
        )
    given = np.asarray(given)  # of a subclass, such as a matrix
    if given.dtype == object and given.ndim > 1:
        try:
            return given.astype(np.float64)
        except (TypeError, ValueError):
            return given
    return given


def _of_rows(rows: list[Any]) -> Any:
    """Rows of numbers, as other libraries take them."""
    if not all(isinstance(row, list | tuple | np.ndarray) or _is_torch(row) for row in rows):
        return rows
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise FrameError(f"expected rows of one length, got {', '.join(map(str, sorted(lengths)[:5]))}")
    found = _plain(np.array(rows, dtype=object))
    if found.dtype == object:
        raise FrameError(
            "expected rows of numbers, or columns by name for values of other kinds, got lists with others"
        )
    return found
