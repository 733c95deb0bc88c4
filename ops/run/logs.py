"""Log output: one line per event, readable on a terminal, or as JSON for machines."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from types import TracebackType
from typing import Any, Literal

import structlog


def configure(form: Literal["json", "console"], **context: str) -> None:
    """Log to standard error in this form; every line contains `context`."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks if form == "json" else structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    structlog.contextvars.bind_contextvars(**context)
    if form == "json":
        _take_everything()


def failure(text: str) -> None:
    """Report a failure on standard error, in the form of the log."""
    if isinstance(structlog.get_config()["processors"][-1], structlog.processors.JSONRenderer):
        structlog.get_logger().error(text)
    else:
        print(text, file=sys.stderr)


class _Forwarding(logging.Handler):
    """Passes on what libraries log by the standard library."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(max(record.levelno, logging.INFO), record.getMessage(), logger=record.name)


def _take_everything() -> None:
    """Make lines of the log of what Python and libraries print by themselves: a machine reads each line."""

    def died(kind: type[BaseException], error: BaseException, place: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        structlog.get_logger().critical("the process ends by an error", exc_info=(kind, error, place))

    def thread_died(ended: threading.ExceptHookArgs) -> None:
        error = ended.exc_value or ended.exc_type()
        name = "" if ended.thread is None else ended.thread.name
        structlog.get_logger().error(
            "a thread ended by an error", thread=name, exc_info=(ended.exc_type, error, ended.exc_traceback)
        )

    def ignored(ended: Any) -> None:
        structlog.get_logger().error(
            "an error that nobody can catch",
            problem=ended.err_msg or "",
            exc_info=(ended.exc_type, ended.exc_value, ended.exc_traceback),
        )

    def warned(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
        structlog.get_logger().warning(str(message), category=category.__name__, place=f"{filename}:{lineno}")

    sys.excepthook, threading.excepthook, sys.unraisablehook = died, thread_died, ignored
    warnings.showwarning = warned
    logging.basicConfig(level=logging.WARNING, handlers=[_Forwarding()], force=True)
