"""What members of consumer groups have in common, whatever their client."""

from __future__ import annotations

import time
from collections.abc import Callable

from thalweg.stream.log.log import LogError, PermanentLogError

SESSION_SECONDS = 10.0
"""A member that is not heard of for this long loses its partitions, unless `session.timeout.ms` says otherwise."""
HEARTBEAT_MS = 500
"""Between two heartbeats, unless `heartbeat.interval.ms` says otherwise: a member hears with its heartbeat that
members have come or gone."""
ATTENTIVE_SECONDS = 6.0
"""For so long after each rebalance a member looks more often whether there is another one, which follows as soon as
those that had partitions have released them, and which lasts until the last member has heard of it."""
ATTENTIVE_MS = 50
"""Between two such looks."""
SESSION_REFUSED = (
    'the broker refuses the session\'s length; set "session.timeout.ms" in [log.kafka] to what its '
    "group.min.session.timeout.ms and group.max.session.timeout.ms allow (6000 to 1800000 unless they are set)"
)
"""What to do about INVALID_SESSION_TIMEOUT."""
NO_HOST = "no such host; check log.url, and advertised.listeners of the brokers, to which clients go on from there"
"""What to do about a name that cannot be resolved."""
LOOK_SECONDS = 2
"""Between two looks for new partitions."""


STANDBY_CLIENT = "thalweg-standby"
"""`client.id` of a member without a name: a standby is no learner, and no stranger either."""


def listed_as(name: str | None, client: str) -> str | None:
    """How a member of a group is listed: by its name; without one by its client; a standby not at all."""
    if name:
        return name
    return None if client == STANDBY_CLIENT else f"client {client}"


class Attention:
    """Whether a member looks more often for a rebalance. Partitions that move have no owner between two rebalances.

    Args:
        ticks: Monotonic seconds.
    """

    def __init__(self, ticks: Callable[[], float] = time.monotonic) -> None:
        self._ticks, self._until = ticks, -1.0

    def begin(self) -> None:
        """There was a rebalance."""
        self._until = self._ticks() + ATTENTIVE_SECONDS

    def end(self) -> None:
        """Something is wrong: the usual pace is the safer one."""
        self._until = -1.0

    @property
    def on(self) -> bool:
        """Whether there may be another one soon."""
        return self._ticks() < self._until


class Fenced(PermanentLogError):
    """Another process has joined the group under this member's name."""


def fenced(group: str, instance: str) -> Fenced:
    """The error of a member whose name another one has taken."""
    return Fenced(
        f"group {group!r}: another process has joined it as {instance!r}: two processes of one host name and state_dir "
        f"learn the same model; stop one of them, or give each host a name of its own (the hostname of its container)"
    )


def foreign(group: str) -> LogError:
    """The error of a member that finds others in the group with which it cannot share partitions out."""
    return LogError(
        f"group {group!r}: a consumer that is no learner is in it, and shares partitions out in another way; stop it, "
        f"or let it read under a group of its own"
    )


def unauthorized(group: str) -> PermanentLogError:
    """The user may not join the group."""
    return PermanentLogError(f"group {group!r}: not authorized; grant READ on the group")
