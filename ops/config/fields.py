"""`[model.fields]`: where the parts of an event stand in records of the user's own making."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from thalweg.models.parts.settings import Settings
from thalweg.proto.rows.column import Column, TimeUnit
from thalweg.proto.rows.fields import FieldMapping, usual_mapping

_USUAL = FieldMapping()


class TimeFieldConfig(Settings):
    """`[model.fields] time = { … }`: the time, with its unit."""

    field: str
    """Name or path."""
    unit: TimeUnit = "auto"
    """Unit of a number: `s`, `ms`, `us`, `ns`; `auto`: the only plausible one; `rfc3339`: the time is a text."""


def _time(given: Any) -> Any:
    return {"field": given} if isinstance(given, str) else given


class FieldsConfig(Settings):
    """`[model.fields]`: names or paths of an event's parts in records of your own; empty: they have no such part."""

    label: str = _USUAL.label
    """The label, such as `"is_fraud"` or `"order.items[0].kept"`; of the records of `labels_topic`, too."""
    id: str = _USUAL.id
    """The identity of the event; of the records of `labels_topic`, too."""
    time: Annotated[TimeFieldConfig, BeforeValidator(_time, json_schema_input_type=str | TimeFieldConfig)] = (
        TimeFieldConfig(field=_USUAL.time)
    )
    """The time of the event, by default `time`: `"created"`, or with its unit `{ field = "created", unit = "ms" }`."""
    key: str = _USUAL.key
    """The key of the event."""
    weight: str = _USUAL.weight
    """The weight of the event."""
    unknown: Literal["ignore", "reject"] = "ignore"
    """What to do with records that have other fields: `ignore` those fields, or `reject` the record."""

    def mapping(self, columns: Iterable[Column] = ()) -> FieldMapping:
        """The mapping for a model with these columns; a usual name that is not given here may be a column's."""
        usual = usual_mapping(columns)
        given = {
            name: getattr(self, name) for name in ("label", "id", "key", "weight") if name in self.model_fields_set
        }
        return replace(usual, **given, time=self.time.field, time_unit=self.time.unit, unknown=self.unknown)
