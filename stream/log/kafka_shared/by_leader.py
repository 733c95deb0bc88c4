"""Questions about partitions that only their leaders answer, some of which may be out of reach."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from thalweg.proto.records import Partition
from thalweg.stream.log.kafka_shared.consumer import ClientError, SomeAway

T = TypeVar("T")

_EACH_SECONDS = 1.0  # for each leader, once all together did not answer

NO_LEADER = "no broker leads; those that keep copies are down"


def by_leader(
    partitions: Sequence[Partition],
    seconds: float,
    ask: Callable[[Sequence[Partition], float], Mapping[Partition, T]],
    leaders: Callable[[], Mapping[Partition, str]],
) -> Mapping[Partition, T]:
    """The answers of all leaders at once; where these fail, of each leader alone.

    Args:
        partitions: Whose leaders are asked.
        seconds: How long, all together.
        ask: Asks. Raises ClientError if one of them does not answer.
        leaders: Who leads each partition, for people; partitions without a leader are missing. Raises ClientError while
            no broker answers.

    Raises:
        SomeAway: Brokers answer, and the leaders of some partitions do not.
        ClientError: No broker answers, or what is wrong is none of that.
    """
    try:
        return ask(partitions, seconds)
    except ClientError as error:
        if error.problem.permanent:
            raise
        led = leaders()
        groups: dict[str, list[Partition]] = defaultdict(list)
        for part in partitions:
            groups[led.get(part, "")].append(part)
        away = dict.fromkeys(groups.pop("", ()), NO_LEADER)
        found: dict[Partition, T] = {}
        for leader, parts in groups.items():
            if len(parts) < len(partitions):  # else it was asked alone
                try:
                    found |= ask(parts, min(seconds, _EACH_SECONDS))
                    continue
                except ClientError as alone:
                    if alone.problem.permanent:
                        raise
            away |= dict.fromkeys(parts, f"{leader}, which leads, is out of reach")
        if not away:
            return found
        raise SomeAway(found, away) from error
