"""Appending records of which some can never be appended: the others must not wait behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from thalweg.stream.log.log import Log, Message, RecordsRefused


def append_possible(log: Log, topic: str, messages: Sequence[Message]) -> Mapping[int, RecordsRefused]:
    """Append what can be appended; the positions of the rest, each with its error.

    Raises LogError while the log takes none of them.
    """
    try:
        log.append(topic, messages)
    except RecordsRefused as error:
        if len(messages) == 1:
            return {0: error}
        refused = {}
        for row in error.rows:  # a broker may refuse sound records for what they travel with
            try:
                log.append(topic, [messages[row]])
            except RecordsRefused as alone:
                refused[row] = alone
        return refused
    return {}
