"""Tables as people have them: pandas, polars, Arrow, NumPy, mappings of columns; their values as records have them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import narwhals as nw

from thalweg.models.parts.settings import nearest
from thalweg.ops.notebook.arrays import column_of
from thalweg.ops.notebook.values import FrameError, plain_values

__all__ = ["Frame", "FrameError", "table_like"]


class Frame:
    """Named columns of equal length.

    Args:
        given: A pandas, polars or Arrow table, a mapping of columns by name, or a list of rows (mappings).

    Raises:
        FrameError: It is none of these, or two columns have one name.
    """

    def __init__(self, given: Any) -> None:
        self.given = given
        self._index = _index_names(given)
        self._columns: dict[str, Any] = {}
        names: list[Any]
        if isinstance(given, Mapping):
            columns: Sequence[Any] = list(map(column_of, given.values()))
            names = list(given)
        elif isinstance(given, list) and given and all(isinstance(row, Mapping) for row in given):
            names = list(dict.fromkeys(name for row in given for name in row))
            columns = [[row.get(name) for row in given] for name in names]
        else:
            names, columns = _of_library(given)
        _check_names(list(map(str, names)))
        self._columns = dict(zip(map(str, names), columns))
        self._rows = {name: _length(column) for name, column in self._columns.items()}
        if len(set(self._rows.values())) > 1:
            raise FrameError(f"expected columns of one length, got {self._rows}")
        for name in self._index:
            if name in self._columns:
                raise FrameError(
                    f"column {name!r:.80}: the index has this name, too, so which is meant is not known; "
                    "df.reset_index(drop=True) drops the index, df.rename_axis(None) takes its name away"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(self._columns)

    def __len__(self) -> int:
        return next(iter(self._rows.values()), 0)

    def values(self, name: str) -> list[Any]:
        """The values of a column as in a JSON record: texts, numbers, booleans, lists, None where missing; times are
        Unix seconds.

        Raises:
            FrameError: There is no such column, or it holds something else.
        """
        return plain_values(self.column(name), name)

    def column(self, name: str) -> Any:
        """A column as it is. Raises FrameError when there is none of this name."""
        if name in self._columns:
            return self._columns[name]
        if name in self._index:
            raise FrameError(f"column {name!r:.80}: it is the frame's index; df.reset_index() makes it a column")
        raise FrameError(f"column {name!r:.80}: {nearest(name, self.names).replace('key', 'column')}")

    def dtype(self, name: str) -> Any:
        """The narwhals dtype of a column; None for a plain list or array."""
        column = self._columns[name]
        return column.dtype if isinstance(column, nw.Series) else None


def _of_library(given: Any) -> tuple[list[str], list[Any]]:
    if type(given).__name__ == "RecordBatch":
        given = sys.modules["pyarrow"].Table.from_batches([given])  # loaded: this is one of its own
    names: list[str] = []  # looked at first: narwhals' own error names no column
    if nw.dependencies.is_pandas_dataframe(given):
        names = list(map(str, given.columns))
    elif nw.dependencies.is_pyarrow_table(given):
        names = list(given.column_names)
    _check_names(names)
    try:
        frame = nw.from_native(given, eager_only=True)
    except TypeError:
        lazy = "; collect() it first" if hasattr(given, "collect") else ""
        raise FrameError(
            f"expected a pandas, polars or Arrow table, a NumPy array (N, F), or columns by name, "
            f"got {type(given).__name__}{lazy}"
        ) from None
    return list(frame.columns), [frame[:, place] for place in range(len(frame.columns))]


def _check_names(names: Sequence[str]) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise FrameError(f"column {name!r:.80}: expected one column of this name, got {times}")


def _index_names(given: Any) -> tuple[str, ...]:
    """Names of the index of a pandas table."""
    if not nw.dependencies.is_pandas_dataframe(given):
        return ()
    return tuple(str(name) for name in given.index.names if name is not None)


def _length(column: Any) -> int:
    try:
        return len(column)
    except TypeError:
        raise FrameError(f"expected columns of values, got {type(column).__name__}") from None


def table_like(given: Any, columns: Mapping[str, Any]) -> Any:
    """A table of the library and with the index of `given`, with these columns; a mapping if it has no library."""
    if nw.dependencies.is_pandas_dataframe(given):
        return type(given)(dict(columns), index=given.index)
    if nw.dependencies.is_into_dataframe(given) and type(given).__name__ != "RecordBatch":
        return nw.from_dict(dict(columns), backend=nw.get_native_namespace(given)).to_native()
    return dict(columns)
