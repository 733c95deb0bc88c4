"""The process's standard streams, made fit for whatever started it: cron, a daemon tool, a shell in any locale."""

from __future__ import annotations

import io
import os
import signal
import sys
from contextlib import suppress


def open_standard_streams() -> None:
    """Open the null device in place of standard streams that are closed, and write UTF-8 whatever the locale is.

    A file that is opened while descriptor 2 is free gets it, and libraries write their complaints into it. What other
    processes read of ours is UTF-8, and a name that the locale's encoding lacks must not end a command.
    """
    for number, mode in ((0, "r"), (1, "w"), (2, "w")):
        try:
            os.fstat(number)
        except OSError:
            _open_null(number)
        name = ("stdin", "stdout", "stderr")[number]
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not what a test has put there
            with suppress(OSError, ValueError):  # nobody reads it any more: its lines are lost, no more
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _open_null(number: int) -> None:
    file = os.open(os.devnull, os.O_RDWR)
    if file != number:
        os.dup2(file, number)
        os.close(file)
    os.set_inheritable(number, True)


def stop_signals() -> list[signal.Signals]:
    """The signals that stop a service: a terminal that closes is one, unless `nohup` had it ignored."""
    signals = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    return signals
