"""Columns as configured: `amount = "numeric"`, or a table with the options of its kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer

from thalweg.models.parts.settings import Settings, nearest, rule
from thalweg.proto.bounds.local_forms import NUMBER_FORMATS, parted_format, pattern_fault
from thalweg.proto.columns import class_name
from thalweg.proto.rows.column import Column, ColumnKind, Missing, TimeUnit

KINDS: tuple[ColumnKind, ...] = get_args(ColumnKind)
COMMON = ("field", "missing", "missing_values")
"""Options of every kind."""
OPTIONS: Mapping[ColumnKind, tuple[str, ...]] = {
    "numeric": ("format", "scale", "units"),
    "boolean": ("scale",),
    "categorical": ("categories", "max_categories", "min_events"),
    "hashed": ("buckets",),
    "text": ("buckets", "ngrams"),
    "datetime": ("format", "trend", "unit"),
    "list": ("buckets", "length", "scale"),
}
"""Options of a kind besides the common ones."""
_USUAL = Column(name="any", kind="numeric")


def _kind(given: Any) -> Any:
    if isinstance(given, str) and given not in KINDS:
        raise ValueError(nearest(given, KINDS).replace("key", f"kind as {given!r}"))
    return given


def _markers(given: Any) -> Any:
    """Numbers as texts, and no spaces around: that is how a value is compared with them."""
    if not isinstance(given, list) or any(
        isinstance(one, bool) or not isinstance(one, str | int | float) for one in given
    ):
        return given
    found = [(one if isinstance(one, str) else class_name(one)).strip() for one in given]
    if "" in found:
        raise ValueError("expected texts that are not empty: an empty one is a missing value anyway")
    return found


def _indicator_or_impute(given: Any) -> Any:
    if isinstance(given, list):
        raise ValueError(f"expected one of {', '.join(get_args(Missing))}, got a list; `missing_values` names markers")
    return given


MissingValues = Annotated[list[str], BeforeValidator(_markers, json_schema_input_type=list[str | float])]
"""Markers of missing values, such as `["?", "-"]`; numbers may be given as such."""
Kind = Annotated[ColumnKind, BeforeValidator(_kind)]


class ColumnConfig(Settings):
    """`columns.NAME`: one column, by its kind alone or as a table."""

    kind: Kind
    """`numeric`, `boolean`, `categorical`, `hashed`, `text`, `datetime` or `list`; docs/columns.md says what a value of
    each becomes."""
    field: str = _USUAL.field
    """Its name or path in a record, such as `order.items[0].sku`; empty: its name."""
    missing: Annotated[Missing, BeforeValidator(_indicator_or_impute)] = _USUAL.missing
    """`indicator`: running mean or mode, and one more feature that is 1 where the value is missing; `impute`: running
    mean or mode alone."""
    missing_values: MissingValues = list(_USUAL.missing_values)  # noqa: RUF012 - pydantic copies it
    """Texts that stand for a missing value, such as `["?", "-"]`, beside the usual ones (absent, null, NaN, empty; of
    numbers also `NA`, `N/A`, `null`, `none`); exact, but for spaces around. A number stands for itself and its text.
    Empty: those of the model."""
    scale: bool = _USUAL.scale
    """`numeric`, `boolean`, `list` of numbers: centred and scaled by the running mean and standard deviation; false: as
    they are, and 0 where missing, so that no feature depends on another event."""
    trend: bool = _USUAL.trend
    """`datetime`: also the time itself, centred and scaled, which in a stream is always beyond all that came before."""
    categories: list[str] = list(_USUAL.categories)  # noqa: RUF012 - pydantic copies it
    """`categorical`: the categories with a feature of their own, if they are known in advance; empty: the first that
    come often enough."""
    max_categories: Annotated[int, Field(ge=1, le=100_000)] = _USUAL.max_categories
    """`categorical`: categories with a feature of their own, at most; all others share one."""
    min_events: Annotated[int, Field(ge=1, le=1_000_000)] = _USUAL.min_events
    """`categorical`: a category gets a feature of its own once it has come this often."""
    buckets: Annotated[int, Field(ge=1, le=1_000_000)] = _USUAL.buckets
    """`hashed`, `text`, `list` of texts: number of hash buckets, each a feature."""
    ngrams: Annotated[int, Field(ge=1, le=8)] = _USUAL.ngrams
    """`text`: longest run of words that is hashed."""
    unit: TimeUnit = _USUAL.unit
    """`datetime`: unit of a number."""
    format: str = _USUAL.format
    """How texts are written, if not as `1234.5` and `2026-12-31T13:45`. `numeric`: `"1,234.5"` or `"1.234,5"`, with
    signs of currencies and percent left out, or with a unit after it, `"1,234.5 kg"`; `datetime`: a pattern such as
    `"%d.%m.%Y %H:%M"`, in UTC."""
    units: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}  # noqa: RUF012 - pydantic copies it
    """`numeric` with a `format`: other units that may follow a number, and how many of the format's unit one is:
    `{ g = 0.001 }` beside `format = "1,234.5 kg"`, `{ K = 1000, M = 1e6 }` beside `"1,234.5"`."""
    length: Annotated[int, Field(ge=0, le=100_000)] = _USUAL.length
    """`list` of numbers: how many; 0: a list of texts."""

    @rule("categories")
    def _categories_differ(self) -> str | None:
        if "" in self.categories:
            return "expected texts that are not empty: an empty one is a missing value"
        double = sorted({one for one in self.categories if self.categories.count(one) > 1})
        return f"expected different texts, got {double[0]!r} twice" if double else None

    @rule("format")
    def _format_is_one(self) -> str | None:
        if not self.format:
            return None
        if self.kind == "numeric":
            known = " or ".join(f'"{one}"' for one in NUMBER_FORMATS)
            return None if _is_number_format(self.format) else f"expected {known}, or with a unit, got {self.format!r}"
        why = pattern_fault(self.format)
        return why and f"expected a pattern of times such as '%d.%m.%Y %H:%M', got {self.format!r}: {why}"

    @rule("units")
    def _units_are_some(self) -> str | None:
        if self.units and not self.format:
            return f'expected a format beside it, "{NUMBER_FORMATS[0]}" for example'
        bad = next((one for one in self.units if not _is_number_format(f"{NUMBER_FORMATS[0]} {one}")), None)
        return None if bad is None else f"expected units such as kg or km/h, got {bad!r:.80}"

    @model_serializer(mode="wrap")
    def _fitting(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Only the options of its kind, so that what is written can be read."""
        own = {"kind", *_options(self.kind, self.length)}
        return {key: value for key, value in handler(self).items() if key in own}

    def column(self, name: str) -> Column:
        """The column of this name."""
        lists: dict[str, Any] = {"categories": tuple(self.categories), "missing_values": tuple(self.missing_values)}
        lists["units"] = tuple(sorted(self.units.items()))
        return Column(name=name, **(self.model_dump() | lists))

    def identity(self) -> dict[str, Any]:
        """Its kind and its options other than the usual ones, as JSON values."""
        return {"kind": self.kind, **self.model_dump(exclude_defaults=True)}

    def merged(self) -> ColumnConfig:
        """This column where shards are merged: with options, if none was given, that make its features depend on no
        other event. Numbers are not scaled by what came before, and categories that are not listed are hashed.
        """
        given = self.model_fields_set
        if "scale" in OPTIONS[self.kind] and "scale" not in given and (self.kind != "list" or self.length):
            return self.model_copy(update={"scale": False})
        if self.kind == "categorical" and not given & {"categories", "max_categories", "min_events"}:
            return self.model_copy(update={"kind": "hashed"})
        return self


def _options(kind: ColumnKind, length: Any) -> list[str]:
    """The options of a kind, in order; `length` tells a list of numbers from one of texts."""
    fit = {*COMMON, *OPTIONS[kind]}
    if kind == "list":
        fit -= {"buckets"} if length else {"scale"}
    return [key for key in ColumnConfig.model_fields if key in fit]


def _as_table(given: Any) -> Any:
    """A kind alone as a table; an option of another kind is a mistake."""
    if isinstance(given, str):
        return {"kind": given}
    kind = given.get("kind") if isinstance(given, dict) else None
    if kind in KINDS:
        own = _options(kind, given.get("length"))
        unfit = [key for key in given if key in ColumnConfig.model_fields and key not in (*own, "kind")]
        if unfit:
            what = kind if kind != "list" else f"list with{'' if given.get('length') else 'out'} length"
            raise ValueError(f"{', '.join(unfit)}: no option of kind {what}; its options: {', '.join(own)}")
    return given


ColumnTable = Annotated[ColumnConfig, BeforeValidator(_as_table, json_schema_input_type=ColumnConfig | Literal[KINDS])]


class _Columns(Settings):
    columns: Annotated[dict[str, ColumnTable], Field(min_length=1)]


def columns_of(given: Mapping[str, Any]) -> dict[str, Column]:
    """Columns by name, of a table such as `{"amount": "numeric", "country": {"kind": "categorical"}}`.

    Raises:
        ParamsError: Kinds are unknown, or options invalid; all mistakes at once, keyed `columns.NAME`.
    """
    table = _Columns.of({"columns": dict(given)})
    return {name: one.column(name) for name, one in table.columns.items()}


def _is_number_format(form: str) -> bool:
    try:
        parted_format(form)
    except ValueError:
        return False
    return True
