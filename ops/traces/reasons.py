"""Why an export failed: the SDK only logs it. Without what is secret: the values of headers, and passwords in URLs."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from urllib.parse import unquote

_HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
_LONGEST = 500
_USER = re.compile(r"[^/\s'\"]*@")
_AGAIN = "Transient error"


class Reasons(logging.Handler):
    """Keeps what a logger was told last, and nothing of it goes further. Of one export at a time."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._transient = self._last = ""

    def listen(self, logger: logging.Logger) -> None:
        """Be the only one that this logger tells."""
        logger.handlers[:], logger.propagate = [self], False
        logger.setLevel(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        if str(record.msg).startswith(_AGAIN) and isinstance(record.args, tuple) and record.args:
            self._transient = str(record.args[0])
        else:
            self._last = record.getMessage()

    def take(self) -> str:
        """What was told since the last call; empty: nothing."""
        told = ": ".join(one.rstrip(".") for one in (self._last, self._transient) if one)
        self._transient = self._last = ""
        return told


def without_secrets(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """A message in which no value of a header stands, in one line and not too long."""
    for name in _HEADERS:
        for header in environment.get(name, "").split(","):
            value = header.partition("=")[2].strip()
            for secret in (value, unquote(value).strip()):
                text = text.replace(secret, "***") if secret else text
    return " ".join(_USER.sub("", text).split())[:_LONGEST]


def shown_url(url: str) -> str:
    """A URL without user, password and query."""
    return _USER.sub("", url.partition("?")[0])
