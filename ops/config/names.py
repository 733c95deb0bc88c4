"""Names of models and of topics; and which topics a model may read: none that it writes itself."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from thalweg.stream.drift.alarm_outbox import alarms_topic
from thalweg.stream.log.dead_letters import dead_letters_of

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}"
_RESERVED = {"live"}
_MADE_OF = "expected letters, digits, '.', '_' or '-'"


def _name(given: str) -> str:
    if not re.fullmatch(_NAME, given) or given.lower() in _RESERVED or given.isdigit():
        raise ValueError(f"{_MADE_OF}, and not {sorted(_RESERVED)}, got {given!r}")
    return given


def _topic(given: str) -> str:
    if not re.fullmatch(_NAME, given):
        raise ValueError(f"{_MADE_OF}, got {given!r}")
    return given


def _topic_or_none(given: str) -> str:
    return _topic(given) if given else ""


_PATTERN = Field(json_schema_extra={"pattern": f"^{_NAME}$"})
Name = Annotated[str, AfterValidator(_name), _PATTERN]
TopicOrNone = Annotated[str, AfterValidator(_topic_or_none)]
Topic = Annotated[str, AfterValidator(_topic), _PATTERN]


def written_itself(given: str, model: str, read: tuple[str, str], joined_topic: str) -> str | None:
    """What is wrong with a topic that a model is to read; None: nothing.

    Args:
        given: The topic.
        model: The model's name.
        read: The topics of its events and of their labels; empty where there is none.
        joined_topic: Where events joined with their labels go; empty without labels that come later.
    """
    written = {dead_letters_of(one): f"dead letters of {one!r}" for one in read if one}
    written |= {alarms_topic(model): "alarms of this model", joined_topic: "events joined with their labels"}
    what = written.get(given) if given else None
    return what and f"expected another topic than {given!r}, where the {what} go"
