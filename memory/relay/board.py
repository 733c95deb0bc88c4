"""The board: for each model, the newest version that was announced. Its twin in memory is the model of the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from thalweg.memory.relay.announced import Announced, Order, decode

INLINE_BYTES = 1 << 20
"""Contents up to this size travel with their announcement."""
MOST_NOTE_BYTES = 1 << 20
HOST_SECONDS = 60.0
"""What a host noted is forgotten after this long."""


class BoardUnavailable(Exception):
    """The store does not answer, or refuses; the message names it and says why. Asking again may help."""


class Overtaken(Exception):
    """A newer owner or sender has announced this model: what was offered counts for nothing. The message says who.

    Args:
        message: The message.
        newer: The order of the newest announcement.
    """

    def __init__(self, message: str, newer: Order) -> None:
        super().__init__(message)
        self.newer = newer


class TooLarge(Exception):
    """This store takes no version of this size; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is on the board."""

    announced: Announced
    age_seconds: float | None
    """How long it has been there, by the store's clock, for an object store compared with this host's; None: not
    known."""
    content: bytes | None
    """The content, where it travels with the announcement and was not said to be known."""


class VersionBoard(Protocol):
    """Where announcements are. Any thread may call it."""

    @property
    def place(self) -> str:
        """Its URL, without secrets."""

    @property
    def notifies(self) -> bool:
        """Whether `listen` tells of new announcements; else they are looked for."""

    @property
    def undeleted(self) -> str:
        """Why what nobody needs any more piles up; empty: it does not."""

    def newest(self, model: str) -> Order | None:
        """The order of the newest announcement; None: there is none that can be read. Raises BoardUnavailable."""

    def offer(self, announced: Announced, content: Callable[[], bytes]) -> None:
        """Announce a version, and see that its content is there: equal content is not sent again.

        Args:
            announced: Without pieces.
            content: Its content; called if it is to be sent. Raises what reading it raises.

        Raises:
            Overtaken: There is a newer one of another owner or sender.
            TooLarge: As it says.
            BoardUnavailable: Nothing was announced, or it is not known whether.
        """

    def read(self, model: str, after: Order | None, known: Collection[str] = ()) -> Found | None:
        """The newest announcement if it is after this one.

        Args:
            model: Its name.
            after: The order; None: any announcement.
            known: SHA-256 of contents that need not be sent: a version is announced again every second.

        Raises:
            Poisoned: What is there is no announcement of the model.
            BoardUnavailable: The store does not answer.
        """

    def fetch(self, announced: Announced, number: int) -> bytes | None:
        """A piece of a content; None if it is gone. Raises BoardUnavailable."""

    def note(self, model: str, content: bytes) -> None:
        """Put what else is known of a model, over what there was. Raises BoardUnavailable."""

    def noted(self, model: str) -> bytes | None:
        """What was noted last, None if there is nothing, or more than MOST_NOTE_BYTES. Raises BoardUnavailable."""

    def note_host(self, model: str, host: str, content: bytes) -> None:
        """Put what a host knows of a model, published there or not, beside what others do. Raises BoardUnavailable."""

    def hosts_noted(self, model: str) -> dict[str, bytes]:
        """What each host noted last, but for those long silent. Raises BoardUnavailable."""

    def listen(self, told: Callable[[str], None], stopped: Callable[[], bool]) -> None:
        """Call `told` with each model that was announced, until `stopped`; looks for that at least once a second.

        Raises BoardUnavailable: The connection was lost.
        """

    def close(self) -> None:
        """Release resources."""


class InMemoryBoard:
    """Within one process."""

    place = "memory:"
    notifies = True
    undeleted = ""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._there: dict[str, tuple[bytes, bytes, float]] = {}
        self._notes: dict[str, bytes] = {}
        self._hosts: dict[str, dict[str, bytes]] = {}
        self.sent_bytes = 0
        """Of contents."""

    def newest(self, model: str) -> Order | None:
        there = self._there.get(model)
        return None if there is None else decode(there[0], model).order

    def offer(self, announced: Announced, content: Callable[[], bytes]) -> None:
        with self._changed:
            known = self._there.get(announced.model)
            before = None if known is None else decode(known[0], announced.model)
            if before is not None and before.order > announced.order:
                raise overtaken(announced, before.order, before.sender)
            if before is not None and known is not None and before.sha256 == announced.sha256:
                sent = known[1]
            else:
                sent = content()
                self.sent_bytes += len(sent)
            self._there[announced.model] = announced.encode(), sent, self._clock()
            self._changed.notify_all()

    def read(self, model: str, after: Order | None, known: Collection[str] = ()) -> Found | None:
        there = self._there.get(model)
        if there is None:
            return None
        record, content, written = there
        announced = decode(record, model)
        if after is not None and announced.order <= after:
            return None
        return Found(announced, self._clock() - written, None if announced.sha256 in known else content)

    def fetch(self, announced: Announced, number: int) -> bytes | None:
        return None

    def note(self, model: str, content: bytes) -> None:
        self._notes[model] = content

    def noted(self, model: str) -> bytes | None:
        return self._notes.get(model)

    def note_host(self, model: str, host: str, content: bytes) -> None:
        self._hosts[model] = {**self._hosts.get(model, {}), host: content}

    def hosts_noted(self, model: str) -> dict[str, bytes]:
        return self._hosts.get(model, {})

    def listen(self, told: Callable[[str], None], stopped: Callable[[], bool]) -> None:
        seen: dict[str, bytes] = {}
        while not stopped():
            with self._changed:
                self._changed.wait(0.05)
                there = {model: record for model, (record, _, _) in self._there.items()}
            for model in [model for model, record in there.items() if seen.get(model) != record]:
                told(model)
            seen = there

    def close(self) -> None: ...


def overtaken(announced: Announced, newer: Order, by: str) -> Overtaken:
    """The error of an announcement that comes too late."""
    return Overtaken(
        f"model {announced.model!r}: version {announced.version} of generation {announced.order.generation} is not "
        f"announced: {by or 'another process'} has announced it since (generation {newer.generation})",
        newer,
    )
