"""The schemas that a model's records were written with: fetched before the records are decoded, and kept for ever.

An id names the same schema for ever; that an id is unknown may change. So it is kept beside the state up to which
record each unknown id was unknown: a replay judges each record as it was judged.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from thalweg.memory.files import make_folder, sync_folder, write_durably
from thalweg.proto.framing.framing import RegisteredSchema, schema_id
from thalweg.proto.records import Partition, Records
from thalweg.stream.log.log import LogError
from thalweg.stream.registry.client import Registry
from thalweg.stream.registry.patience import Patience
from thalweg.stream.registry.protoc import compiled
from thalweg.stream.registry.second_look import SecondLook, in_a_thread

log = structlog.get_logger(__name__)

_AGAIN_SECONDS = 10.0  # between two questions for an id whose records were judged
_MOST_WAITED = 20  # unknown ids of a block; ids are given in sequence, so that the smallest are no stray bytes
_MOST_UNKNOWN = 1_000  # ids that are remembered one by one


class KnownSchemas:
    """See `Schemas`; used by one thread.

    Args:
        registry: Where they are fetched.
        path: The file that keeps them, beside the model's state; None: in memory.
        clock: Monotonic seconds.
        read_only: Leave the file as it is, since another process may be writing it, and wait for no id.
        wait_seconds: How long an id that is new here, and that the registry does not know, is asked for again.
        keys: See `Schemas`.
        start: Runs what looks whether ids still name the same schemas.
    """

    def __init__(
        self,
        registry: Registry,
        path: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        read_only: bool = False,
        wait_seconds: float = 5.0,
        keys: bool = False,
        start: Callable[[Callable[[], None]], None] = in_a_thread,
    ) -> None:
        self._keys = keys
        self._registry, self._clock = registry, clock
        self._path = None if read_only else path
        self._schemas: dict[int, RegisteredSchema] = {}
        self._unknown: dict[int, dict[str, int]] = {}  # id: the last offset of each partition for which it was unknown
        self._others: dict[str, int] = {}  # the same for all ids that are in neither of them
        self._asked: dict[int, float] = {}  # id: when to ask for it again
        self._set_aside: set[int] = set()  # not asked for while others are waited for
        self._unsaved = False
        # who only reads what was learned, or keeps nothing, has no use for it
        self._second_look = SecondLook(registry, clock, str(path), start) if self._path is not None else None
        self._patience = Patience(clock, 0.0 if read_only else wait_seconds)
        if path is not None and path.exists():
            try:
                self._load(path)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                told = "damaged: schemas are fetched anew, unknown ids asked for again"
                log.error(told, file=str(path), problem=str(error))

    @property
    def keys(self) -> bool:
        return self._keys

    def find(self, id: int, partition: Partition, offset: int) -> RegisteredSchema | None:
        return None if self._judged(id, str(partition), offset) else self._schemas.get(id)

    def _judged(self, id: int, partition: str, offset: int) -> bool:
        """Whether the record at this place was judged as one of an unknown schema."""
        judged = self._unknown.get(id, {} if id in self._schemas else self._others)
        return offset <= judged.get(partition, -1)

    def prepare(self, records: Records) -> None:
        """Fetch what these records need; returns at once if it is there. Nothing that is decoded afterwards waits, or
        depends on when it is decoded.

        Raises:
            LogError: While the registry is away; for a few seconds, within the bounds of `Patience`, while it does
                not know an id that is new here; and while an id names another schema than it did. To be called again
                then.
        """
        last: dict[int, int] = {}
        for column in (records.values, records.keys) if self._keys else (records.values,):
            for offset, value in zip(records.offsets, column):
                if value is not None and value[:1] == b"\0" and (id := schema_id(value)) is not None:
                    last[id] = max(offset, last.get(id, offset))
        partition = str(records.partition)
        wanted = [id for id in sorted(last) if id not in self._schemas and not self._judged(id, partition, last[id])]
        try:
            missing = [id for id in wanted if not self._fetch(id)]
            if missing:
                self._wait_for(missing)
            if wanted:
                self._patience.end()
                self._set_aside.clear()
            for id in missing:
                self._judge(id, partition, last[id])
        finally:
            if self._unsaved:
                self._save()
        if self._second_look is not None and last:
            used = {id: self._schemas[id] for id in last if id in self._schemas}
            self._second_look.use(used, used.keys() & set(wanted))

    def _fetch(self, id: int) -> bool:
        """Whether the registry knows the schema; one that it lacked is asked for again after a while only."""
        if id in self._set_aside or self._clock() < self._asked.get(id, 0.0):
            return False
        found = self._registry.fetch(id)
        if found is None:
            return False
        if found.form == "PROTOBUF":
            found = compiled(found)
        if id not in self._unknown and self._others:
            self._unknown[id] = dict(self._others)  # it may have been one of these
        self._schemas[id] = found
        self._unsaved = True
        log.info("schema fetched", id=id, form=found.form)
        return True

    def _wait_for(self, missing: list[int]) -> None:
        """Raises LogError while ids that are new here are to be asked for again."""
        new = [id for id in missing if id not in self._unknown][:_MOST_WAITED]
        if new and self._patience.lasts():
            self._set_aside = set(missing).difference(new)  # judged with the others, and not asked for in between
            named = ", ".join(map(str, new))
            raise LogError(
                f"it has no schema {named}, or not yet: "
                f"asked again for {self._patience.seconds:g} seconds before the records are judged"
            )

    def _judge(self, id: int, partition: str, offset: int) -> None:
        """Records up to this offset are of an unknown schema, for ever."""
        if self._clock() >= self._asked.get(id, 0.0):
            log.warning("the schema registry has no such schema: its records are dead letters", id=id)
            if len(self._asked) < _MOST_UNKNOWN:
                self._asked[id] = self._clock() + _AGAIN_SECONDS
        if id not in self._unknown and len(self._unknown) < _MOST_UNKNOWN:
            self._unknown[id] = dict(self._others)
        self._unknown.get(id, self._others)[partition] = offset
        self._unsaved = True

    def _load(self, path: Path) -> None:
        found = json.loads(path.read_text(encoding="utf-8"))
        self._schemas = {
            int(id): schema for id, one in found["schemas"].items() if (schema := _schema(one)) is not None
        }
        self._unknown = {int(id): _offsets(one) for id, one in found["unknown"].items()}
        self._others = _offsets(found.get("others", {}))  # a file of an older version has none

    def _save(self) -> None:
        """Before anything is learned by it. Raises LogError if the disk refuses."""
        if self._path is None:
            self._unsaved = False
            return
        schemas = {id: _record(one) for id, one in self._schemas.items()}
        kept = {"schemas": schemas, "unknown": self._unknown, "others": self._others}
        beside = self._path.with_name(f".{self._path.name}")
        try:
            make_folder(self._path.parent)
            write_durably(beside, json.dumps(kept).encode())
            os.replace(beside, self._path)  # noqa: PTH105 - as the other files of a state
            sync_folder(self._path.parent)
        except OSError as error:
            raise LogError(f"{self._path}: {error.strerror or error}") from error
        self._unsaved = False


def _record(schema: RegisteredSchema) -> dict[str, Any]:
    """A schema as JSON."""
    record: dict[str, Any] = {"form": schema.form, "text": schema.text, "references": schema.references}
    if schema.form == "PROTOBUF":
        descriptors = base64.b64encode(schema.compiled).decode()
        record |= {"names": schema.names, "compiled": descriptors, "fault": schema.fault}
    return record


def _schema(record: dict[str, Any]) -> RegisteredSchema | None:
    """From `_record`; None for one that has to be fetched again, because an older version could not compile it."""
    form, text, references = record["form"], record["text"], tuple(record["references"])
    if form != "PROTOBUF":
        return RegisteredSchema(form, text, references)
    if "compiled" not in record:
        return None
    descriptors = base64.b64decode(record["compiled"], validate=True)
    return RegisteredSchema(form, text, references, tuple(record["names"]), descriptors, record["fault"])


def _offsets(found: dict[str, Any]) -> dict[str, int]:
    return {str(partition): int(offset) for partition, offset in found.items()}
