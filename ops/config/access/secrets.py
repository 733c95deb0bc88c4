"""Masking of secrets in a configuration and in messages about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from thalweg.models.parts.settings import Place, Settings

_SECRET = "password|passwd|secret|jaas|token|credential|private|pem"
MASK = "***"


def is_secret(place: Place) -> bool:
    """Whether the value is a secret, by its name: a Kafka property, a parameter of a learner, an encoder's argument."""
    section, *inner = place
    of_others = (section == "log" and inner[:1] in (["kafka"], ["registry"])) or (
        section == "model" and ("params" in inner or "encoder_arguments" in inner)
    )
    return of_others and re.search(_SECRET, str(inner[-1]), re.IGNORECASE) is not None


def masked(url: str) -> str:
    """A URL with user, password and secret parameters masked."""
    url = re.sub(r"://.*@", f"://{MASK}@", url)  # greedy: a password may contain an @ or a slash
    return re.sub(rf"([?&][^=&]*(?:{_SECRET})[^=&]*=)[^&]*", rf"\1{MASK}", url, flags=re.IGNORECASE)


def shown(value: Any, place: Place) -> Any:
    """A value with secrets masked."""
    if isinstance(value, Settings):
        value = value.model_dump()
    if isinstance(value, Mapping):
        return {key: shown(inner, (*place, key)) for key, inner in value.items()}
    if is_secret(place):
        return MASK
    return masked(value) if place[-1] == "url" and isinstance(value, str) else value
