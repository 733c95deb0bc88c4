"""A named column of a user's own records: its kind, and how it becomes features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

ColumnKind: TypeAlias = Literal["numeric", "boolean", "categorical", "hashed", "text", "datetime", "list"]
Missing: TypeAlias = Literal["indicator", "impute"]
TimeUnit: TypeAlias = Literal["auto", "s", "ms", "us", "ns", "rfc3339"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column. In a batch it is one array of one value per event:

    - `numeric`, `boolean` (0 and 1), `datetime` (Unix seconds): float64 (N,), NaN where missing;
    - `categorical`, `hashed`, `text`: objects (N,) of UTF-8 bytes, empty where missing;
    - `list` with a `length`: float64 (N, length), NaN where missing; without: objects (N,) of UTF-8 bytes, a JSON
      list of texts, empty where missing.

    Missing are: absent, null, NaN, an empty text. They are normal, never an error.
    """

    name: str
    kind: ColumnKind
    field: str = ""
    """Name or path in a record, such as `order.items[0].sku`; empty: its name."""
    missing_values: tuple[str, ...] = ()
    """Texts, and numbers as texts, that stand for a missing value beside the usual ones, such as `?` or `-999`."""
    missing: Missing = "indicator"
    """`indicator`: running mean or mode, and one more feature that is 1 where the value is missing; `impute`: running
    mean or mode alone."""
    scale: bool = True
    """`numeric`, `boolean`, `list` of numbers: centred and scaled by the running mean and standard deviation; False: as
    they are, and 0 where missing, so that features depend on no other event."""
    trend: bool = False
    """`datetime`: also the time itself, centred and scaled, which in a stream is always beyond all that came before."""
    categories: tuple[str, ...] = ()
    """`categorical`: the categories with a feature of their own, if they are known in advance; empty: the first that
    come often enough."""
    max_categories: int = 32
    """`categorical`: categories with a feature of their own, at most; all others share one."""
    min_events: int = 5
    """`categorical`: a category gets a feature of its own once it has come this often."""
    buckets: int = 64
    """`hashed`, `text`, `list` of texts: number of hash buckets, each a feature."""
    ngrams: int = 2
    """`text`: longest run of words that is hashed."""
    unit: TimeUnit = "auto"
    """`datetime`: unit of a number."""
    format: str = ""
    """How texts are written. `numeric`: one of `local_forms.NUMBER_FORMATS`; `datetime`: a pattern of `strptime`, in
    UTC if it has no zone; empty: as in programs, `1234.5` and RFC 3339."""
    units: tuple[tuple[str, float], ...] = ()
    """`numeric` with a `format`: other units that may follow a number, and how many of the format's unit one is."""
    length: int = 0
    """`list` of numbers: how many; 0: a list of texts."""

    @property
    def path(self) -> str:
        """Where it stands in a record."""
        return self.field or self.name

    @property
    def dtype(self) -> str:
        """Dtype of its array in a batch, as in `TensorSpec`."""
        texts = self.kind in ("categorical", "hashed", "text") or (self.kind == "list" and not self.length)
        return "bytes" if texts else "float64"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one value in a batch."""
        return (self.length,) if self.kind == "list" and self.length else ()
