"""Log output: one line per event, readable on a terminal, or as JSON for machines."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, TextIO

import structlog

from thalweg.ops.serve.bounds.rare_log import Rate

_FRAMES = 30  # of a traceback, the outermost and the innermost
_AGAIN_SECONDS = 60.0  # after which a library's line is written again
_NUMBER = re.compile(r"0x[0-9a-f]+|\d+(\.\d+)?")


def configure(form: Literal["json", "console"], **context: str) -> None:
    """Log to standard error in this form; every line contains `context`.

    What libraries log is logged in this form, too. As JSON, everything is a line of JSON: also uncaught exceptions of
    any thread, and warnings.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # lines of its own, as callers please; what matters reaches our log
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(default=_shown)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    # without local variables: they hold events, and perhaps secrets
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=_FRAMES)
    structlog.configure(
        processors=[
            lambda _, __, line: {**context, **line},  # of every thread, which variables of a context are not
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(tracebacks)
            if form == "json"
            else structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(_Lasting(sys.stderr)),  # type: ignore[arg-type]  # what it uses of it
    )
    root = logging.getLogger()  # what libraries log has the form of the other lines
    for handler in [one for one in root.handlers if isinstance(one, _Forward)]:
        root.removeHandler(handler)
    root.addHandler(_Forward())
    if form == "json":
        _take_over()


class _Lasting:
    """A stream for the log, which is written to whatever becomes of it: a full disk or a reader that has left must not
    end the part that logs. Lines that cannot be written are lost.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            return self._stream.write(text)
        return 0

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def failure(text: str) -> None:
    """Report a failure on standard error, in the form of the log."""
    if isinstance(structlog.get_config()["processors"][-1], structlog.processors.JSONRenderer):
        structlog.get_logger().error(text)
    else:
        print(text, file=sys.stderr)


def _take_over() -> None:
    """Log what Python and libraries would print as plain text."""

    def uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            _report("uncaught exception: the process ends", (kind, error or kind(), trace))

    def uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, SystemExit):
            where = "unknown" if args.thread is None else args.thread.name
            error = args.exc_value or args.exc_type()
            _report("uncaught exception: a thread ends", (args.exc_type, error, args.exc_traceback), thread=where)

    def unraisable(args: Any) -> None:
        error = args.exc_value or args.exc_type()
        text = args.err_msg or "exception ignored"
        _report(text, (args.exc_type, error, args.exc_traceback), object=repr(args.object)[:200])

    sys.excepthook, threading.excepthook, sys.unraisablehook = uncaught, uncaught_in_thread, unraisable
    logging.captureWarnings(True)


def _report(text: str, error: Any, **more: str) -> None:
    structlog.get_logger().error(text, exc_info=error, **more)


class _Forward(logging.Handler):
    """Hands what libraries log on to our log. Lines that differ in their numbers alone are one kind, of which one a
    minute is written: a client without a connection says so many times a second, and again for each address.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._rate = Rate(seconds=_AGAIN_SECONDS)

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        try:
            text = record.getMessage().strip()
            left_out = self._rate.passes(f"{record.name} {level} {_NUMBER.sub('#', text)}")
            if left_out is not None:
                more = {"left_out": left_out} if left_out else {}
                getattr(structlog.get_logger(), level)(text, logger=record.name, exc_info=record.exc_info, **more)
        except Exception:  # what cannot be formatted must not end the part that logs
            self.handleError(record)


def _shown(value: Any) -> str:
    return repr(value)[:1000]
