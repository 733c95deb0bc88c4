"""The limits of records, events and labels, in one place. They hold at every door: the topics, gRPC, REST, files.

A stranger chooses these values, and they are kept: in the store, in snapshots, in published versions. So each has a
limit in bytes, not only a limit of how many there are.
"""

from __future__ import annotations

MAX_ID_BYTES = 1024
"""An event's id, in UTF-8: the field `id`, the `event_id` of a request, `source#id` of a CloudEvent."""

MAX_KEY_BYTES = 1024
"""An event's key, in UTF-8: the field `key`, or the key of its record."""

MAX_LABEL_BYTES = 1024
"""The name of a class, in UTF-8."""

MAX_CLASS_NAMES_BYTES = 2 << 20
"""All class names of one learner together: they stand in the header of its state files, which safetensors bounds."""

MAX_TEXT_BYTES = 1 << 20
"""One text of an input of dtype `bytes`."""

MAX_CATEGORY_BYTES = 1024
"""One value of a `categorical` column; `hashed` and `text` columns take as much as other texts."""

MAX_LABEL_RECORD_BYTES = 1 << 20
"""One record of a labels topic."""

MAX_HEADERS_BYTES = 64 << 10
"""Names and values of all headers of one record."""

MAX_ATTRIBUTE_BYTES = 2048
"""One attribute of a CloudEvent."""

MAX_JSON_DEPTH = 64
"""Objects and lists within each other in a JSON text, the outermost included."""

MAX_FUTURE_SECONDS = 3600.0
"""How far an event may be dated ahead of its record, by default: as Kafka bounds the timestamps of records."""

MAX_WEIGHT = 1000.0
"""The weight of one event, by default: a few heavier ones would outweigh all that a model has learned."""

MAX_SECONDS = 1e11
"""Numbers below are Unix seconds (until the year 5138), larger ones finer units."""

EARLIEST_RECORD_SECONDS = 946_684_800.0
"""A record dated before (2000) has no time that its events could be compared with: its log has no clock of the day."""
