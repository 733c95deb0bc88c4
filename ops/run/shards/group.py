"""The groups in which learner processes share a model out: what they and their members are called, and whose those are.

A member is called `HOST-FOLDER.SERVICE`, or `HOST-FOLDER-N.SERVICE` where it is one of several of a host: by the first
part a restarted process has its partitions at once, and by the last learners of one service know each other.
"""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import structlog

from thalweg.memory.objects.objects import place_of
from thalweg.ops.config.config import Config
from thalweg.ops.config.model import ModelConfig
from thalweg.stream.health.probe import Probe
from thalweg.stream.health.registry import Health
from thalweg.stream.log.groups import GroupListener, GroupMember
from thalweg.stream.log.log import Log, LogError, PermanentLogError
from thalweg.stream.standby.member import StandbyMember

log = structlog.get_logger(__name__)

_OURS = re.compile(r"(?P<place>.+-[0-9a-f]{8})(-[0-9]+)?\.(?P<service>[0-9a-f]{8})", re.ASCII | re.DOTALL)
_LEARNER = re.compile(r".+-[0-9a-f]{8}(-[0-9]+)?(\.[0-9a-f]{8})?", re.ASCII | re.DOTALL)  # of earlier versions, too
_EVERY_SECONDS = 15.0
_FIRST_SECONDS = 3.0
_MOST_LETTERS = 200  # of a host's name: Kafka takes 249 for a member's
_UNANSWERED = 3  # times, before it is logged
_SHOWN = 3


def group_of(model: ModelConfig) -> str:
    """The consumer group whose members share the partitions of a model, or of which one learns the whole."""
    return f"thalweg.{model.name}" if model.sharded is not None else f"thalweg.{model.name}.owner"


def instance_of(config: Config, process: int = 1) -> str:
    """The name of a learner process of this service among all others, the same after a restart.

    `process`: which of the service's learner processes it is, from 1.
    """
    name = _place(config)
    return name if process == 1 else f"{name}-{process}"


def member_name(config: Config, model: ModelConfig, process: int = 1) -> str:
    """Its name in the groups of a model: it keeps its partitions over a restart."""
    return f"{instance_of(config, process)}.{service_of(config, model)}"


def service_of(config: Config, model: ModelConfig) -> str:
    """What learners that share a model have in common: its topic, and where its states are, hashed."""
    url = config.service.state_url
    states = place_of(url) if url else _place(config)
    return _short(f"{model.topic}\n{states}")


def membership(
    config: Config, model: ModelConfig, source: Log, process: int = 1, group: str = ""
) -> Callable[[GroupListener], GroupMember]:
    """How a learner process takes part in the group of a model, or in another one of its topic: always, or as a standby
    while learners are missing.
    """
    group = group or group_of(model)
    join = partial(source.member, model.topic, group)
    if config.service.role != "standby":
        return partial(join, member_name(config, model, process))
    others = OtherServices(config, model, source.named_members, group)
    return partial(StandbyMember, model.name, partial(join, ""), others.learners, config.service.least_learners)


class OtherServices:
    """Whether learners of another service take part in a group: those would learn a part of the topic each, of which
    the servers of neither would see the whole.

    Args:
        config: The configuration.
        model: The model.
        names: The names of a group's members, as `Log.named_members`.
        group: The group, if it is not that of the model.
    """

    def __init__(
        self, config: Config, model: ModelConfig, names: Callable[[str], Sequence[str]], group: str = ""
    ) -> None:
        self._group = group or group_of(model)
        self._names, self._topic = names, model.topic
        self._place, self._service = _place(config), service_of(config, model)
        self._states = config.service.state_url
        self._known = threading.Event()
        self.reason = ""
        """Who is there, as far as is known; empty: nobody."""
        self.strangers = ""
        """Members that are no learners, as far as is known; empty: none."""
        # in no registry: whoever takes part in the group tells it
        self._probe = Probe(f"group {self._group!r}", self._ask, Health("group", model.name), _EVERY_SECONDS)
        self._unanswered = 0

    def start(self) -> None:
        """Start to ask, and wait for the first answer a little: a log that is away is asked on."""
        self._probe.start()
        self._known.wait(_FIRST_SECONDS)

    def close(self) -> None:
        """Stop asking."""
        self._probe.close()

    def look(self) -> None:
        """Ask once. Raises LogError; what was known stays so."""
        try:
            names = self._names(self._group)
            strangers, self.strangers = self.strangers, self._no_learners(names)
            if self.strangers and not strangers:
                log.error(self.strangers)
            found = self._told(names)
            if found and not self.reason:
                log.error(f"another service is in the group: {found}")
            elif self.reason and not found:
                log.info("the other service has left the group", group=self._group)
            self.reason = found
        finally:
            self._known.set()

    def _ask(self) -> None:
        """As `look`, but a group that is not answered for at first is none to speak of: a new one has no coordinator
        for some seconds.
        """
        try:
            self.look()
            self._unanswered = 0
        except LogError:
            self._unanswered += 1
            if self._unanswered >= _UNANSWERED:
                raise

    def learners(self) -> int:
        """How many learners of this service the group has. Raises LogError, and PermanentLogError where there are
        others'.
        """
        names = self._names(self._group)
        if found := self._told(names):
            raise PermanentLogError(found)
        return sum(_LEARNER.fullmatch(name) is not None for name in names)

    def _no_learners(self, names: Iterable[str]) -> str:
        found = sorted({name for name in names if _LEARNER.fullmatch(name) is None})
        if not found:
            return ""
        return (
            f"group {self._group!r} has members that are no learners ({', '.join(found[:_SHOWN])}): what they are "
            f"assigned of topic {self._topic!r} is learned by nobody; let them read it under a group of their own"
        )

    def _told(self, names: Iterable[str]) -> str:
        others = [
            found["place"]
            for name in names
            if (found := _OURS.fullmatch(name)) and found["service"] != self._service and found["place"] != self._place
        ]
        if not others:
            return ""
        shown = ", ".join(sorted(set(others))[:_SHOWN])
        return (
            f"group {self._group!r} has members of another service ({shown}), which learn topic {self._topic!r} into "
            f"other states or learn another topic, and would be given a part of the partitions each: expected another "
            f"name of the model, or one service.state_url for both; got {self._states or 'none'} here"
        )


def _place(config: Config) -> str:
    host = re.sub(r"[^A-Za-z0-9._-]", "_", socket.gethostname())[:_MOST_LETTERS]
    return f"{host}-{_short(str(Path(config.service.state_dir).absolute()))}"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
