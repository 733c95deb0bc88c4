"""The schemas that a model's records were written with: fetched before the records are decoded, and kept for ever.

An id names the same schema for ever; that an id is unknown may change. So it is kept beside the state up to which
record each unknown id was unknown: a replay judges each record as it was judged.
"""

from __future__ import annotations

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

log = structlog.get_logger(__name__)

_AGAIN_SECONDS = 10.0  # between two questions for an id that was unknown
_MOST_UNKNOWN = 10_000  # ids; further ones are as unknown, and not remembered


class KnownSchemas:
    """See `Schemas`; used by one thread.

    Args:
        registry: Where they are fetched.
        path: The file that keeps them, beside the model's state; None: in memory.
        clock: Monotonic seconds.
        read_only: Leave the file as it is: another process may be writing it.
    """

    def __init__(
        self,
        registry: Registry,
        path: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        read_only: bool = False,
    ) -> None:
        self._registry, self._clock = registry, clock
        self._path = None if read_only else path
        self._schemas: dict[int, RegisteredSchema] = {}
        self._unknown: dict[int, dict[str, int]] = {}  # id: the last offset of each partition for which it was unknown
        self._asked: dict[int, float] = {}
        if path is not None and path.exists():
            try:
                self._load(path)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                told = "damaged: schemas are fetched anew, unknown ids asked for again"
                log.error(told, file=str(path), problem=str(error))

    def find(self, id: int, partition: Partition, offset: int) -> RegisteredSchema | None:
        if offset <= self._unknown.get(id, {}).get(str(partition), -1):
            return None
        return self._schemas.get(id)

    def prepare(self, records: Records) -> None:
        """Fetch what these records need; returns at once if it is there. Raises LogError while the registry is away.

        Nothing that is decoded afterwards waits, or depends on when it is decoded.
        """
        last: dict[int, int] = {}
        for offset, value in zip(records.offsets, records.values):
            if value is not None and value[:1] == b"\0" and (id := schema_id(value)) is not None:
                last[id] = offset
        changed = False
        for id, offset in last.items():
            if id not in self._schemas:
                changed = self._fetch(id, str(records.partition), offset) or changed
        if changed:
            self._save()

    def _fetch(self, id: int, partition: str, offset: int) -> bool:
        """Whether something became known: the schema, or that there is none."""
        unknown = self._unknown.get(id, {})
        if offset <= unknown.get(partition, -1):
            return False  # judged before
        if self._clock() >= self._asked.get(id, 0.0):
            found = self._registry.fetch(id)
            if found is not None:
                self._schemas[id] = found
                log.info("schema fetched", id=id, form=found.form)
                return True
            log.warning("the schema registry has no such schema: its records are dead letters", id=id)
            if len(self._asked) < _MOST_UNKNOWN:
                self._asked[id] = self._clock() + _AGAIN_SECONDS
        if id in self._unknown or len(self._unknown) < _MOST_UNKNOWN:
            self._unknown[id] = {**unknown, partition: offset}
            return True
        return False

    def _load(self, path: Path) -> None:
        found = json.loads(path.read_text())
        self._schemas = {
            int(id): RegisteredSchema(one["form"], one["text"], tuple(one["references"]))
            for id, one in found["schemas"].items()
        }
        self._unknown = {int(id): {str(p): int(o) for p, o in one.items()} for id, one in found["unknown"].items()}

    def _save(self) -> None:
        """Before anything is learned by it. Raises LogError if the disk refuses."""
        if self._path is None:
            return
        schemas: dict[int, Any] = {
            id: {"form": one.form, "text": one.text, "references": one.references} for id, one in self._schemas.items()
        }
        beside = self._path.with_name(f".{self._path.name}")
        try:
            make_folder(self._path.parent)
            write_durably(beside, json.dumps({"schemas": schemas, "unknown": self._unknown}).encode())
            os.replace(beside, self._path)  # noqa: PTH105 - as the other files of a state
            sync_folder(self._path.parent)
        except OSError as error:
            raise LogError(f"{self._path}: {error.strerror or error}") from error
