"""JSON records of the user's own making to columns, many per call.

With a field mapping, the parts of an event stand where it says, and inputs and columns under their own paths. Without
one, a model with columns takes two forms: our own event form, whose `inputs` holds the columns by name, and, where
there is no `inputs`, a row that holds the columns beside our usual fields.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from thalweg.proto import columns
from thalweg.proto.bounds.json_numbers import has_such_numbers, strict_json
from thalweg.proto.bounds.number_range import refused
from thalweg.proto.cloudevents import Envelopes
from thalweg.proto.decode_json import check_depth
from thalweg.proto.event import Batch, Decoded
from thalweg.proto.json_text import BYTE_ORDER_MARK, fault_of, json_of
from thalweg.proto.records import Records
from thalweg.proto.rejected import Refused
from thalweg.proto.rows.assembly import assemble
from thalweg.proto.rows.extraction import Extraction, Values
from thalweg.proto.rows.fields import PARTS, FieldMapping, usual_mapping
from thalweg.proto.rows.loose import loose_parts, part_key
from thalweg.proto.rows.paths import Path, shown
from thalweg.proto.rows.plain_input import plain_input
from thalweg.proto.rows.table import Names, Payloads, names_of, table_of
from thalweg.proto.rows.values import column_array
from thalweg.proto.salvage import salvage
from thalweg.proto.schema import Array, Schema

_INPUTS = "inputs"
_LONGEST_DETAIL = 1000  # characters; a parser error may quote a whole record


class RowDecoder:
    """Decodes JSON records for a schema with columns or a field mapping; `max_future_seconds` as in `decode.Decoder`.

    Records that are decoded one by one and in one call give the same.
    """

    def __init__(self, schema: Schema, max_future_seconds: float | None = None) -> None:
        self._schema = schema
        self._max_future_seconds = max_future_seconds
        self._mapping = schema.fields
        self._rows = _rows(schema, schema.fields or usual_mapping(schema.columns.values()))
        self._together = _together(self._rows, schema.fields)
        self._own = _own_form(schema) if schema.fields is None else None
        self._plain = [name for name in schema.inputs if name not in schema.columns]
        self._firsts = {one for column in schema.columns.values() for one in (column.path, Path.of(column.path).name)}

    def decode(
        self, records: Records, rows: Sequence[int], values: Sequence[bytes], envelopes: Envelopes | None
    ) -> Decoded:
        """The batch of the events in `values`, at rows `rows` of `records`."""
        return self._decode(records, rows, values, envelopes, self._values)

    def decode_payloads(
        self,
        records: Records,
        rows: Sequence[int],
        values: Sequence[bytes],
        envelopes: Envelopes | None,
        payloads: Payloads,
    ) -> Decoded:
        """As `decode`, of records of a binary form: each gives what it gives as JSON."""

        def found(part: Sequence[bytes]) -> dict[str, Values]:
            if self._together is not None:
                table = table_of(self._together, payloads, part)
                if table is not None and (self._mapping is not None or self._all_are_rows(table)):
                    return table
            return self._values([payloads.json(one) for one in part])

        return self._decode(records, rows, values, envelopes, found)

    def _decode(
        self,
        records: Records,
        rows: Sequence[int],
        values: Sequence[bytes],
        envelopes: Envelopes | None,
        values_of: Callable[[Sequence[bytes]], dict[str, Values]],
    ) -> Decoded:
        def decode(places: range) -> Batch:
            part = slice(places.start, places.stop)
            found = values_of(values[part])
            return assemble(
                self._schema,
                records,
                rows[part],
                self._inputs(found, len(places)),
                loose_parts(found),
                envelopes and envelopes[part],
                self._max_future_seconds,
                "auto" if self._mapping is None else self._mapping.time_unit,
                zone_needed=self._mapping is None,
            )

        return salvage(self._schema, rows, decode)

    def _values(self, texts: Sequence[bytes]) -> dict[str, Values]:
        """The values of each input and part. Raises Refused when any record is invalid."""
        check_depth(texts)
        if (found := self._together_of(texts)) is not None:
            return found
        if not self._plain and any(map(has_such_numbers, texts)):
            texts = list(map(strict_json, texts))
            if (found := self._together_of(texts)) is not None:
                return found
        if len(texts) > 1:
            raise Refused("malformed", "")  # one of them is, or differs from the others; `salvage` finds which
        return self._alone(texts[0])

    def _together_of(self, texts: Sequence[bytes]) -> dict[str, Values] | None:
        """The values of records of one form; None if one is of another, or invalid."""
        for extraction in (self._own, self._rows):
            if extraction is None:
                continue
            try:
                found = extraction.of_json(texts)
            except (msgspec.MsgspecError, ValueError, RecursionError, Refused):
                continue
            if extraction is self._own or self._mapping is not None or self._all_are_rows(found):
                return found
        return None

    def _all_are_rows(self, found: dict[str, Values]) -> bool:
        """Whether none of many records without a mapping has `inputs`, and each has a column."""
        if any(value is not None for value in found[part_key(_INPUTS)]):
            return False
        empty = set(range(len(found[part_key(_INPUTS)])))
        for name in self._schema.columns:
            if None not in found[name]:
                return True
            empty = {row for row in empty if found[name][row] is None}
        return not empty

    def _alone(self, text: bytes) -> dict[str, Values]:
        """The values of one record, whose every fault is named."""
        record = _object(text)
        extraction, known = self._rows, "fields"
        if self._own is not None and record.get(_INPUTS) is not None:
            if not isinstance(record[_INPUTS], dict):
                raise Refused("wrong_dtype", f"inputs: expected an object, got {shown(record[_INPUTS])}")
            extraction, known = self._own, _INPUTS
        elif self._own is not None and not self._firsts & record.keys():
            raise Refused(
                "missing_input",
                f"inputs: missing, and none of the columns {', '.join(map(repr, self._schema.columns)):.200} is there; "
                "records of another form need [model.fields] or the columns' `field`",
            )
        if unknown := extraction.unknown(record):
            raise Refused("unknown_input", f"{known}: no such field is known: {unknown!r:.80}")
        return extraction.of_object(record)

    def _inputs(self, found: dict[str, Values], count: int) -> dict[str, Array]:
        """The inputs, (N, ...). Raises Refused when a value does not fit."""
        inputs: dict[str, Array] = {}
        for name, spec in self._schema.inputs.items():
            column = self._schema.columns.get(name)
            if column is not None:
                inputs[name] = column_array(column, found[name])
            else:
                inputs[name] = plain_input(spec, found[name])
        plain = {name: inputs[name] for name in self._plain}
        if not columns.finite_rows(plain, count).all():
            raise refused(plain, {name: found[name][0] for name in plain})
        return inputs


def _rows(schema: Schema, mapping: FieldMapping) -> Extraction:
    """For records in which parts and columns stand side by side."""
    paths = {part: Path.of(where) for part in PARTS if (where := getattr(mapping, part))}
    inputs = {name: Path.of(schema.columns[name].path if name in schema.columns else name) for name in schema.inputs}
    wanted = {part_key(part): path for part, path in paths.items()} | inputs
    if schema.fields is None:
        wanted[part_key(_INPUTS)] = Path.literally(_INPUTS)
    return Extraction(wanted, "all" if mapping.unknown == "reject" else "none")


def _together(rows: Extraction, mapping: FieldMapping | None) -> dict[str, Names] | None:
    """The names on the way to each value, where all are found by names alone; None if each record must be looked at."""
    if mapping is not None and mapping.unknown == "reject":
        return None
    found = {name: names_of(path) for name, path in rows.paths.items()}
    return None if None in found.values() else {name: names for name, names in found.items() if names is not None}


def _own_form(schema: Schema) -> Extraction:
    """For our own event form."""
    wanted = {part_key(part): Path.literally(part) for part in PARTS}
    wanted |= {name: Path.within(_INPUTS, name) for name in schema.inputs}
    return Extraction(wanted, "inner", required=frozenset({_INPUTS}))


def _object(text: bytes) -> dict[str, Any]:
    """One JSON object. Raises Refused if it is none."""
    text = text.removeprefix(BYTE_ORDER_MARK)
    try:
        found = msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        if not has_such_numbers(text) and "out of range" not in str(error):
            raise Refused("malformed", fault_of(text, error)[:_LONGEST_DETAIL]) from error
        found = _with_such_numbers(text, error)
    if not isinstance(found, dict):
        raise Refused("malformed", f"expected a JSON object, got {shown(found)}")
    return found


def _with_such_numbers(text: bytes, error: Exception) -> Any:
    """What Python reads: NaN, and infinities, also for numbers that are too large; their columns judge them."""
    try:
        return json_of(text)
    except ValueError:
        raise Refused("malformed", fault_of(text, error)[:_LONGEST_DETAIL]) from error
