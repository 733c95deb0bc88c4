"""When sums over features may be added or subtracted: features must mean the same on both sides.

The features of an order-free column depend on its value alone, so sums over them may always be added and subtracted:
`hashed`, `text` and `list` of texts, numbers with `scale = false`, times without a trend, and `categorical` with its
`categories` listed and `missing = "indicator"`. Those of any other column depend on earlier events; then sums may be
added only where both stages use the same scale and gave features to the same categories.
"""

from __future__ import annotations

from thalweg.memory.snapshots.state import State
from thalweg.models.columns.layout import Span, is_numbers
from thalweg.models.columns.stage import FeatureStage
from thalweg.proto.rows.column import Column


def order_free(column: Column) -> bool:
    """Whether the features of a value depend on no other event."""
    if is_numbers(column):
        return not column.scale
    if column.kind == "datetime":
        return not column.trend
    return column.kind != "categorical" or bool(column.categories and column.missing == "indicator")


def remedy(column: Column) -> str:
    """What makes a column order-free."""
    if column.kind == "datetime":
        return "trend = false makes its features independent of other events"
    if column.kind != "categorical":
        return "scale = false makes its features independent of other events"
    return 'its categories listed and missing = "indicator", or kind hashed, make its features independent of others'


def check_order_free(stage: FeatureStage) -> None:
    """Raise ValueError if a column's features depend on other events: then those of an earlier event are not known."""
    for column in (span.column for span in stage.transform.layout.spans):
        if not order_free(column):
            raise ValueError(f"cannot unlearn: column {column.name!r} had other features earlier; {remedy(column)}")


def other_stage(stage: FeatureStage, state: State) -> FeatureStage:
    """The stage of a state, to be merged into `stage`.

    Raises:
        ValueError: It was made of other columns, or a column means something else in it; the message names it.
    """
    theirs = FeatureStage(stage.transform)
    theirs.restore(state)
    if not stage.events or not theirs.events:
        return theirs
    for span in stage.transform.layout.spans:
        if not order_free(span.column) and (how := _differs(span, stage, theirs)):
            raise ValueError(f"cannot merge: column {span.column.name!r} {how}; {remedy(span.column)}")
    return theirs


def _differs(span: Span, mine: FeatureStage, theirs: FeatureStage) -> str:
    here, there = mine.known, theirs.known
    if span.column.kind == "categorical":
        number = mine.transform.layout.categorical.index(span)
        if here.categories[number] != there.categories[number]:
            return "gave features to other categories, or in another order"
        imputed = mine.transform.categorical.imputed
        place = imputed.index(number) if number in imputed else None
        same = place is None or here.modes[place] == there.modes[place]
        return "" if same else "has another most frequent category"
    first = span.trend if span.trend >= 0 else span.first
    rows = slice(first, first + max(1, span.column.length))
    same = bool((here.shift[rows] == there.shift[rows]).all() and (here.factor[rows] == there.factor[rows]).all())
    return "" if same else "is scaled otherwise"
