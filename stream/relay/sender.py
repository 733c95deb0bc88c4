"""The sender: announces to other hosts what the learners of this host publish.

The newest version of each model is what is sent; one that was overtaken while another was on its way is skipped, and
nothing is queued. A version is announced again every second, so that those who follow know that it is the newest.
"""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

import structlog

from thalweg.memory.relay.announced import Announced, Order
from thalweg.memory.relay.board import BoardUnavailable, Overtaken, TooLarge, VersionBoard
from thalweg.stream.health.registry import Health, HealthRegistry
from thalweg.stream.health.supervised import SupervisedThread
from thalweg.stream.publication.announcement import Slot
from thalweg.stream.relay.local import Content, LocalModel, published_models
from thalweg.stream.shards.names import shard_of
from thalweg.stream.usual_time import UsualTime
from thalweg.stream.watching import Watching

log = structlog.get_logger(__name__)

COMPONENT = "relay"
BEAT_SECONDS = 1.0
"""A version is announced again after this long."""
_MOVED_SECONDS = 60.0
"""The same of one that a new owner has overtaken: it is sent only should the store have lost what was in it."""
_CONFIRMED_SECONDS = 0.25
"""Between two announcements of one version, of which the learner has said meanwhile that it is up to date."""
_PACE_SECONDS = 0.02
"""Between two versions of a model; longer where sending one takes longer, so that half of the time is free."""
_LOOK_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 2.0
_SILENT_SECONDS = 60.0
_LOCK = ".relay.lock"
_published = Watching("relay")
"""Of all models that this process sends."""


class ModelSender:
    """Sends the versions of one model. One thread runs it.

    Args:
        model: Its name, as of the folder.
        folder: The model's folder in the live folder.
        board: Where it announces them.
        identity: Hash of the settings under which the model learns.
        health: Its health.
        note: What else is told of the model.
        clock: Unix seconds.
        ticks: Monotonic seconds.
        moves: Whether a group may give it to another host, as it may every shard: that is no trouble.
    """

    def __init__(
        self,
        model: str,
        folder: Path,
        board: VersionBoard,
        identity: str,
        health: Health,
        note: Callable[[Order], bytes] | None = None,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
        moves: bool = False,
    ) -> None:
        self._moves = moves or shard_of(model) is not None
        self._model, self._board, self._identity, self._health, self._note = model, board, identity, health, note
        self._clock, self._ticks = clock, ticks
        self._local = LocalModel(folder)
        self._who = f"host {socket.gethostname()} pid {os.getpid()}"
        self._order: Order | None = None
        self._number = self._version = -1
        self._sent_at = self._noted_at = -BEAT_SECONDS
        self._not_before, self._sending = 0.0, UsualTime()
        self._here = self._overtaken = self._moved = False
        self._problem = ""
        self._changed = threading.Event()
        self._stopping = threading.Event()

    def run(self) -> None:
        """Send until `stop`, and then the last version."""
        wait = _PACE_SECONDS
        _published.add(self._notice)
        try:
            while not self._stopping.is_set():
                try:
                    with self._health.slow():  # a large version, or a slow store
                        self.step()
                    wait = _PACE_SECONDS
                except BoardUnavailable as error:
                    self._health.waiting(f"version {self._version} is the last one sent: {error}")
                    wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
                    self._stopping.wait(wait)
                self._stopping.wait(max(0.0, self._not_before - self._ticks()))
                self._changed.wait(_CONFIRMED_SECONDS)
                self._changed.clear()
            try:
                self.step()
            except BoardUnavailable as error:
                log.warning("the last version was not sent to other hosts", model=self._model, problem=str(error))
        finally:
            _published.remove(self._notice)
            self._local.close()

    def stop(self) -> None:
        """Ask `run` to return."""
        self._stopping.set()
        self._changed.set()

    def step(self) -> bool:
        """Announce the newest version if that is due; whether one was announced. Raises BoardUnavailable."""
        slot, now = self._local.newest(), self._ticks()
        self._here = slot is not None
        if slot is None:
            self._tell("")
            return False
        if slot.info.version == self._version:
            confirmed = slot.number != self._number and self._board.notifies  # else each is a request to be paid
            pause = _CONFIRMED_SECONDS if confirmed else BEAT_SECONDS
            if self._moved and slot.number == self._number:
                pause = _MOVED_SECONDS
            if now - self._sent_at < pause:
                return False
        try:
            content = self._local.content(slot)
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            self._tell(f"version {slot.info.version} cannot be read: {error}")
            self._version, self._sent_at = slot.info.version, now
            return False
        if content is None:  # a newer one is there already
            self._changed.set()
            return False
        return self._send(slot, content, now)

    def _send(self, slot: Slot, content: Content, now: float) -> bool:
        order = self._next(content.generation)
        announced = self._announced(slot, content, order)
        try:
            self._board.offer(announced, lambda: self._local.whole(content))
        except FileNotFoundError:  # a newer one is there
            self._changed.set()
            return False
        except (Overtaken, TooLarge) as error:
            moved = isinstance(error, Overtaken) and error.newer.generation > order.generation
            self._moved = moved and self._moves
            self._tell("" if self._moved else str(error))
            self._version, self._number, self._sent_at = slot.info.version, slot.number, now
            self._not_before = now + BEAT_SECONDS
            self._overtaken = isinstance(error, Overtaken)
            return False
        self._order, self._version, self._number, self._sent_at = order, slot.info.version, slot.number, now
        self._not_before = now + max(_PACE_SECONDS, 2 * self._sending.after(self._ticks() - now))
        self._local.sent()
        self._overtaken = self._moved = False
        self._tell(self._board.undeleted)
        self._tell_note(BEAT_SECONDS)
        return True

    def keep_alive(self) -> None:
        """Tell what else is known of the model where sending a version keeps `step` from it: its learner runs all the
        same. Any thread may call it. Raises BoardUnavailable.
        """
        if self._here and not self._overtaken:
            self._tell_note(2 * BEAT_SECONDS)

    def _tell_note(self, due_seconds: float) -> None:
        order, now = self._order, self._ticks()
        if self._note is not None and order is not None and now - self._noted_at >= due_seconds:
            self._noted_at = now
            self._board.note(self._model, self._note(order))

    def _next(self, generation: int) -> Order:
        """The order of the next announcement. Raises BoardUnavailable."""
        if self._order is not None and self._order.generation == generation:
            # taken whether or not it is announced: what fails may have been announced before it failed
            self._order = self._order._replace(sequence=self._order.sequence + 1)
            return self._order
        newest = self._board.newest(self._model)
        before = newest.incarnation if newest is not None and newest.generation == generation else 0
        # The clock matters only where the store has lost what was in it: then nobody knows who sent before.
        order = Order(generation, max(before + 1, int(self._clock() * 1e6)), 0)
        self._order = order
        return order

    def _announced(self, slot: Slot, content: Content, order: Order) -> Announced:
        info, now = slot.info, self._clock()
        return Announced(
            model=self._model,
            order=order,
            version=info.version,
            learned_events=info.learned_events,
            event_time=info.event_time,
            published_age=max(0.0, now - info.published_at),
            as_of_age=max(0.0, now - info.as_of) if info.as_of else None,
            identity=self._identity,
            sender=self._who,
            sha256=content.sha256,
            size_bytes=content.size_bytes,
            cohorts=self._local.cohorts(info.version, now),
        )

    def _notice(self) -> bool:
        if self._changed.is_set() or not self._local.changed():
            return False
        self._changed.set()
        return True

    def _tell(self, problem: str) -> None:
        if problem and problem.partition(":")[0] != self._problem.partition(":")[0]:
            log.error("versions are not sent to other hosts", model=self._model, problem=problem)
        self._problem = problem
        if problem:
            self._health.degraded(problem)
        else:
            self._health.running()


class Sender:
    """Sends the versions of all models of this host. Of several processes that share a live folder, one does.

    Args:
        live: The live folder.
        board: Where versions are announced.
        identity: By name, the hash of the settings under which a model learns; None: it is not sent.
        registry: Where the parts report, as `relay`.
        note: What else is told of a model, with the order of its newest announcement; None: nothing.
        tell: Tells what this host knows of models, published or not; called about once a second. Raises
            BoardUnavailable. None: nothing is told.
        moving: Models, besides shards, that a group may give to another host.
    """

    def __init__(
        self,
        live: Path,
        board: VersionBoard,
        identity: Callable[[str], str | None],
        registry: HealthRegistry,
        note: Callable[[str, Order], bytes] | None = None,
        tell: Callable[[], None] | None = None,
        moving: Collection[str] = (),
    ) -> None:
        self._moving = frozenset(moving)
        self._told, self._tell = -BEAT_SECONDS, tell
        self._live, self._board, self._identity, self._registry, self._note = live, board, identity, registry, note
        self._health = registry.register(COMPONENT, silent_seconds=_SILENT_SECONDS)
        self._thread = SupervisedThread(self._run, self._health, COMPONENT)
        self._models: dict[str, tuple[ModelSender, SupervisedThread]] = {}
        self._stopping = threading.Event()

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def close(self, timeout_seconds: float = 5.0) -> None:
        """Send what is newest, and stop. Called after the learners have ended."""
        self._stopping.set()
        self._thread.stop()
        self._thread.join(timeout_seconds)
        for sender, thread in self._models.values():
            thread.stop()
            sender.stop()
        deadline = time.monotonic() + timeout_seconds
        for _, thread in self._models.values():
            thread.join(max(0.0, deadline - time.monotonic()))
        self._board.close()

    def _run(self) -> None:
        with (self._live / _LOCK).open("w", encoding="utf-8") as lock:
            while not self._stopping.is_set():
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:  # another learner process of this host sends all of them
                    self._health.running()
                else:
                    self._begin_new()
                    self._tell_if_due()
                self._stopping.wait(_LOOK_SECONDS)

    def _tell_if_due(self) -> None:
        try:
            if self._tell is not None and time.monotonic() - self._told >= BEAT_SECONDS:
                self._told = time.monotonic()
                self._tell()
            for sender, _ in self._models.values():
                sender.keep_alive()
            self._health.running()
        except BoardUnavailable as error:
            self._health.waiting(str(error))

    def _begin_new(self) -> None:
        for model in published_models(self._live):
            if model in self._models or (identity := self._identity(model)) is None:
                continue
            health = self._registry.register(COMPONENT, model, silent_seconds=_SILENT_SECONDS)
            note = None if self._note is None else self._noted(model, self._note)
            sender = ModelSender(
                model, self._live / model, self._board, identity, health, note, moves=model in self._moving
            )
            thread = SupervisedThread(sender.run, health, f"{COMPONENT}-{model}", longest_wait_seconds=5.0)
            self._models[model] = sender, thread
            thread.start()

    @staticmethod
    def _noted(model: str, note: Callable[[str, Order], bytes]) -> Callable[[Order], bytes]:
        return lambda order: note(model, order)
