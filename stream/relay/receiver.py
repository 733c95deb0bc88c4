"""The receiver: publishes on this host what learners of other hosts announce, checked before any server sees it.

Whatever happens on the way (a store that is away, a version that is damaged or was never one) the last version that was
received stays published and grows stale.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import structlog

from thalweg.memory.relay.announced import PIECE_BYTES, Announced, Order, Poisoned
from thalweg.memory.relay.board import BoardUnavailable, Found, VersionBoard
from thalweg.memory.snapshots.state import DamagedFile, read_state
from thalweg.stream.health.registry import Health, HealthRegistry
from thalweg.stream.health.supervised import SupervisedThread
from thalweg.stream.relay.behind import Behind
from thalweg.stream.relay.landing import Landing

log = structlog.get_logger(__name__)

COMPONENT = "relay"
SILENT_SECONDS = 10.0
"""Versions are announced every second, also those that were announced before; after this long without one the learner's
host is away."""
_LOOK_SECONDS = 1.0
"""Between two looks where the store tells of what is new …"""
_QUICK_SECONDS, _QUIET_SECONDS, _QUIET_AFTER_SECONDS = 0.03, 0.5, 5.0
"""… and where it does not: quickly while there was a new version lately."""
_UNTOLD = 3
"""So many new versions in turn were found of which the store has not told: it is not relied upon until it does."""
_LONGEST_WAIT_SECONDS = 2.0
_AGAIN_SECONDS = 10.0
"""A refused announcement is not looked at again for so long."""
_THREAD_SILENT_SECONDS = 60.0
_REFERENCE = {"path", "first", "end", "deaths"}
"""Keys of a reference to shared memory, as `Window.reference` has it."""


class Refused(Exception):
    """A version cannot be used here; the message says why. The one before stays published."""


class ModelReceiver:
    """Receives the versions of one model. One thread runs it.

    Args:
        model: Its name.
        folder: The model's folder in the live folder.
        board: Where its versions are announced.
        identity: Hash of the settings under which it is served here; a version made under others is refused. Empty:
            any is taken.
        health: Its health.
        clock: Unix seconds.
        ticks: Monotonic seconds.
    """

    def __init__(
        self,
        model: str,
        folder: Path,
        board: VersionBoard,
        identity: str,
        health: Health,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model, self._folder, self._board, self._identity, self._health = model, folder, board, identity, health
        self._clock, self._ticks = clock, ticks
        self._landing: Landing | None = None
        self._looked_at: float | None = None
        self.heard_at: float | None = None
        """Monotonic seconds of the last announcement that was taken, or other sign of life; None: there was none."""
        self._refused: tuple[Order | None, float, str] | None = None
        self._unusable: tuple[str, float, str] | None = None
        """SHA-256 of a content that was refused, when, and why."""
        self._behind = Behind(model, ticks)
        self._told = ""
        self._untold = 0
        """New versions found in turn of which nothing was heard."""
        self._changed = threading.Event()
        self._stopping = threading.Event()

    def run(self) -> None:
        """Receive until `stop`."""
        wait, changed_at, told = _QUICK_SECONDS, self._ticks(), True
        try:
            while not self._stopping.is_set():
                try:
                    with self._health.slow():
                        version = self._served()
                        if self.look() and self._served() != version:
                            changed_at = self._ticks()
                            self._untold = 0 if told else self._untold + 1
                    wait = _QUICK_SECONDS
                    lately = self._ticks() - changed_at < _QUIET_AFTER_SECONDS
                    pause = _LOOK_SECONDS if self._is_told() else _QUICK_SECONDS if lately else _QUIET_SECONDS
                except BoardUnavailable as error:
                    self._health.waiting(f"{self._served()} is served: {error}")
                    pause = wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
                told = self._changed.wait(pause)
                self._changed.clear()
        finally:
            landing, self._landing = self._landing, None  # run again, it opens the folder again
            if landing is not None:
                landing.close()

    def _is_told(self) -> bool:
        return self._board.notifies and self._untold < _UNTOLD

    def stop(self) -> None:
        """Ask `run` to return."""
        self._stopping.set()
        self._changed.set()

    def heard(self) -> None:
        """Its learner's host was heard of otherwise: a large version may be long on its way. Any thread may call it."""
        self.heard_at = self._ticks()

    def notice(self) -> None:
        """There is something new. Any thread may call it."""
        self._changed.set()

    def look(self) -> bool:
        """Publish the newest version that is announced, if it is new here; whether it was. Raises BoardUnavailable."""
        try:
            if self._landing is None:
                self._landing = Landing(self._folder)
            have = self._landing.order
            refused = self._refused if self._refused and self._ticks() - self._refused[1] < _AGAIN_SECONDS else None
            seen = (have, self._behind.seen, None if refused is None else refused[0])
            after = max((one for one in seen if one is not None), default=None)
            began = self._ticks()
            known = self._known(self._landing.sha256)
            found = self._read(after, known)
            if found is not None and self._behind.holds(self._landing.order, self._landing.version, found.announced):
                heard = (self.heard_at, self._behind.heard_at)
                self.heard_at, found = max((one for one in heard if one is not None), default=None), None
            elif found is not None:
                self._publish(self._landing, found, self._ticks())
            self._looked_at = began
        except Refused as error:
            self._tell(str(error))
            return False
        except OSError as error:
            self._tell(f"it cannot be written here: {error}")
            return False
        if found is None:
            self._tell(self._refused[2] if self._refused is not None else "")
            return False
        self._refused = None
        self.heard_at = self._ticks()
        self._tell("")
        return True

    def _known(self, here: str) -> list[str]:
        """The contents that need not come again: the one here, and the one that was refused lately."""
        if self._unusable is not None and self._ticks() - self._unusable[1] >= _AGAIN_SECONDS:
            self._unusable = None
        return [one for one in (here, "" if self._unusable is None else self._unusable[0]) if one]

    def _read(self, after: Order | None, known: Collection[str]) -> Found | None:
        try:
            return self._board.read(self._model, after, known)
        except Poisoned as error:
            self._refuse(None, str(error))

    def _publish(self, landing: Landing, found: Found, read_at: float) -> None:
        announced = found.announced
        if self._identity and announced.identity and announced.identity != self._identity:
            why = (
                f"version {announced.version} from {announced.sender} was made under other settings than those here: "
                "give both hosts one configuration, and restart the one that has the old"
            )
            self._unusable = announced.sha256, self._ticks(), why
            self._refuse(announced.order, why)
        content = None if announced.sha256 == landing.sha256 else self._received(landing, found)
        now = self._ticks()
        ages = [] if found.age_seconds is None else [found.age_seconds + now - read_at]
        if self._looked_at is not None:  # it came since, whatever clocks say
            ages.append(now - self._looked_at)
        landing.publish(_older(announced, min(ages, default=0.0)), content, self._clock())

    def _received(self, landing: Landing, found: Found) -> Path:
        """The file of a version, whole and sound. Raises Refused, BoardUnavailable, OSError."""
        announced = found.announced
        if self._unusable is not None and self._unusable[0] == announced.sha256:
            self._refuse(announced.order, self._unusable[2])  # announced again: it is not fetched again so soon
        path = landing.incoming()
        try:
            return self._checked(landing, found, path)
        except Refused as error:
            self._unusable = announced.sha256, self._ticks(), str(error)
            path.unlink(missing_ok=True)
            raise
        except BaseException:
            path.unlink(missing_ok=True)  # it takes memory
            raise

    def _checked(self, landing: Landing, found: Found, path: Path) -> Path:
        announced = found.announced
        if (free := shutil.disk_usage(path.parent).free) < announced.size_bytes:
            raise OSError(f"version {announced.version} has {announced.size_bytes:,} bytes, {free:,} are free")
        digest, size = hashlib.sha256(), 0
        have = _hashes(landing, announced)
        with path.open("wb") as file:
            for part in self._parts(landing, found, have):
                digest.update(part)
                size += len(part)
                file.write(part)
        if (size, digest.hexdigest()) != (announced.size_bytes, announced.sha256):
            self._refuse(
                announced.order,
                f"version {announced.version} from {announced.sender} is damaged: expected {announced.size_bytes:,} "
                f"bytes with SHA-256 {announced.sha256}, got {size:,} with {digest.hexdigest()}",
            )
        try:
            state = read_state(path)
        except DamagedFile as error:
            why = str(error).removeprefix(f"{path}: ")
            self._refuse(announced.order, f"version {announced.version} from {announced.sender} is damaged: {why}")
        if _refers(state.meta):
            self._refuse(
                announced.order,
                f"version {announced.version} from {announced.sender} refers to files of its learner's host: learn "
                "with service.role = 'learn' there",
            )
        return path

    def _parts(self, landing: Landing, found: Found, have: dict[str, int]) -> Iterable[bytes]:
        announced = found.announced
        if not announced.pieces:
            yield found.content or b""
            return
        for number, expected in enumerate(announced.pieces):
            if expected in have:
                yield landing.piece(have[expected], PIECE_BYTES)
                continue
            piece = self._board.fetch(announced, number)
            if piece is None:
                raise BoardUnavailable(f"{self._board.place}: a piece of version {announced.version} is gone")
            yield piece
            self._health.beat()
            if self._stopping.is_set():
                raise BoardUnavailable("stopping")

    def _refuse(self, order: Order | None, why: str) -> NoReturn:
        self._refused = order, self._ticks(), why
        raise Refused(why)

    def _served(self) -> str:
        version = -1 if self._landing is None else self._landing.version
        return "no version" if version < 0 else f"version {version}"

    def _tell(self, problem: str) -> None:
        if problem and problem != self._told:
            log.error("a version from another host is not used", model=self._model, problem=problem)
        self._told = problem
        silent = None if self.heard_at is None else self._ticks() - self.heard_at
        if problem:
            self._health.degraded(f"{self._served()} is served: {problem}")
        elif self._served() == "no version":
            self._health.waiting("no version is announced yet; its learner is starting or not running")
        elif silent is None or silent > SILENT_SECONDS:
            since = "" if silent is None else f" for {silent:.0f} s"
            self._health.degraded(f"{self._served()} is served: nothing is heard of its learner's host{since}")
        elif self._board.notifies and not self._is_told():
            self._health.degraded(
                f"{self._served()} is served: {self._board.place} does not pass on that there are new versions "
                "(PUBLISH to those who SUBSCRIBE): they are looked for"
            )
        elif why := self._behind.reason(SILENT_SECONDS):
            self._health.degraded(f"{self._served()} is served: {why}")
        else:
            self._health.running()


class Receiver:
    """Receives the versions of models; as a part of a process that may do other things.

    Args:
        live: The live folder.
        board: Where versions are announced.
        models: The models by name, each with the hash of its settings, as of `ModelReceiver`; asked again every second.
            None that a learner of this host publishes.
        registry: Where the parts report, as `relay`.
    """

    def __init__(
        self, live: Path, board: VersionBoard, models: Callable[[], dict[str, str]], registry: HealthRegistry
    ) -> None:
        self._live, self._board, self._names, self._registry = live, board, models, registry
        self._health = registry.register(COMPONENT, silent_seconds=_THREAD_SILENT_SECONDS)
        self._thread = SupervisedThread(self._run, self._health, COMPONENT, longest_wait_seconds=_LONGEST_WAIT_SECONDS)
        self.models: dict[str, ModelReceiver] = {}
        """By name; replaced as a whole."""
        self._threads: list[SupervisedThread] = []
        self._stopping = threading.Event()

    def start(self) -> None:
        """Start receiving."""
        self._begin_new()
        self._thread.start()

    def close(self) -> None:
        """Stop; what is published stays."""
        self._stopping.set()
        self._thread.stop()
        for thread in self._threads:
            thread.stop()
        for model in self.models.values():
            model.stop()
        for thread in (self._thread, *self._threads):
            thread.join(5.0)
        self._board.close()

    def _run(self) -> None:
        """Wake whoever waits for what is new."""
        looked = -_AGAIN_SECONDS

        def stopped() -> bool:
            nonlocal looked
            if time.monotonic() - looked > _LOOK_SECONDS:
                looked = time.monotonic()
                self._begin_new()
                self._health.running()
            return self._stopping.is_set()

        while not stopped():
            if not self._board.notifies:
                self._stopping.wait(_LOOK_SECONDS)
                continue
            try:
                for model in self.models.values():  # what came while nobody listened
                    model.notice()
                self._board.listen(self._heard, stopped)
            except BoardUnavailable as error:
                self._health.waiting(str(error))
                self._stopping.wait(_QUIET_SECONDS)

    def _heard(self, model: str) -> None:
        if (one := self.models.get(model)) is not None:
            one.notice()

    def _begin_new(self) -> None:
        for name, identity in self._names().items():
            if name in self.models:
                continue
            health = self._registry.register(COMPONENT, name, silent_seconds=_THREAD_SILENT_SECONDS)
            one = ModelReceiver(name, self._live / name, self._board, identity, health)
            thread = SupervisedThread(one.run, health, f"{COMPONENT}-{name}", longest_wait_seconds=5.0)
            self.models = {**self.models, name: one}
            self._threads.append(thread)
            thread.start()


def _hashes(landing: Landing, announced: Announced) -> dict[str, int]:
    """Where in the present file which pieces are: those need not be fetched."""
    found: dict[str, int] = {}
    if not announced.pieces or not landing.sha256:
        return found
    at = 0
    while piece := landing.piece(at, PIECE_BYTES):
        found[hashlib.sha256(piece).hexdigest()] = at
        at += len(piece)
    return found


def _older(announced: Announced, seconds: float) -> Announced:
    """The announcement as of now, if it was sent so many seconds ago."""
    return replace(
        announced,
        published_age=announced.published_age + seconds,
        as_of_age=None if announced.as_of_age is None else announced.as_of_age + seconds,
        cohorts=tuple((number, version, age + seconds, *rest) for number, version, age, *rest in announced.cohorts),  # type: ignore[misc]
    )


def _refers(value: Any) -> bool:
    """Whether a state refers to files: those of another host cannot be mapped here, and none here are its to name."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if one.keys() >= _REFERENCE and isinstance(one["path"], str):
                return True
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    return False
