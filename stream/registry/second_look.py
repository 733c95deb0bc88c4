"""Whether ids still name the schemas that records were read with: a registry that was rebuilt gives them anew.

A schema is kept for ever and its id never asked for again, so a learner would go on to read records of other schemas by
the old ones, and some would seem to fit. Looking is done beside the learner: a registry that is away changes nothing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any

import structlog

from thalweg.proto.framing.framing import RegisteredSchema
from thalweg.stream.log.log import LogError, PermanentLogError
from thalweg.stream.registry.client import Registry

log = structlog.get_logger(__name__)

_EVERY_SECONDS = 60.0
_CHANGED_SECONDS = 5.0  # until an operator's repair is seen


def in_a_thread(look: Callable[[], None]) -> None:
    """Start a look, and go on."""
    threading.Thread(target=look, daemon=True, name="schema-look").start()


class SecondLook:
    """Compares schemas in use with those of the registry: at the first use of one that was kept, when a further one is
    fetched, and every minute. Used by one thread.

    Args:
        registry: Where they were fetched.
        clock: Monotonic seconds.
        place: What keeps the schemas, for the message.
        start: Runs a look, which asks the registry once for each schema.
    """

    def __init__(
        self,
        registry: Registry,
        clock: Callable[[], float],
        place: str,
        start: Callable[[Callable[[], None]], None] = in_a_thread,
    ) -> None:
        self._registry, self._clock, self._place, self._start = registry, clock, place, start
        self._used: dict[int, RegisteredSchema] = {}
        self._after = clock() + _EVERY_SECONDS
        self._looking = False
        self._changed: tuple[int, ...] = ()
        self._gone: set[int] = set()

    def use(self, schemas: Mapping[int, RegisteredSchema], fetched: Collection[int] = ()) -> None:
        """These are about to be used; `fetched`: those that the registry has just given.

        Raises:
            PermanentLogError: As far as is known, an id names another schema now. Gone once it does no longer.
        """
        kept = schemas.keys() - set(fetched)
        if not kept <= self._used.keys() or (fetched and self._used):  # a registry with news may be a new one
            self._after = self._clock()
        self._used.update(schemas)
        if not self._looking and self._clock() >= self._after:
            self._looking = True
            self._after = self._clock() + (_CHANGED_SECONDS if self._changed else _EVERY_SECONDS)
            try:
                self._start(self._look)
            except RuntimeError as error:  # no further thread can be started
                self._looking = False
                log.warning("whether the schema registry is the same cannot be looked at", problem=str(error))
        if self._changed:
            named = ", ".join(map(str, self._changed))
            raise PermanentLogError(
                f"it has another schema under id {named} than the one that records were read with: was it set up anew? "
                f"Put its schemas back under their ids; or, if all records from here on are of the new ones, stop the "
                f"service and remove {self._place}"
            )

    def _look(self) -> None:
        changed, used = [], dict(self._used)
        try:
            for id, known in used.items():
                found = self._registry.fetch(id)
                if found is None:
                    self._tell_gone(id)
                elif _meaning(found) != _meaning(known):
                    changed.append(id)
            self._changed = tuple(changed)
        except LogError:  # away: as far as is known nothing has changed, and what has changed is not mended
            pass
        finally:
            self._looking = False

    def _tell_gone(self, id: int) -> None:
        if id not in self._gone:
            self._gone.add(id)
            log.warning("the schema registry no longer has a schema that records are read with", id=id)


def _meaning(schema: RegisteredSchema) -> tuple[Any, ...]:
    """A schema without what a registry may write differently: spaces, and the order of keys."""
    return schema.form, _text(schema.text), [_text(one) for one in schema.references]


def _text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.split()
