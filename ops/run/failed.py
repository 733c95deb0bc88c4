"""The error of a failed command of the command line, and the exit codes of all errors."""

from __future__ import annotations

import sys
from typing import NoReturn


class Failed(Exception):
    """The command failed; the message says why. Not in `cli.py`, whose module has another name when run as the
    program.
    """


def end_with(error: Exception) -> NoReturn:
    """Report a user's mistake in one line and end the process with its exit code; other errors are raised.

    The error classes are imported only here, because most processes need none.

    Raises:
        SystemExit: 2 if a restart would not help, 1 if it may.
    """
    from thalweg.ops.config.error import ConfigurationError
    from thalweg.ops.run import logs

    if isinstance(error, ConfigurationError):
        logs.failure(str(error))
        sys.exit(2)
    from thalweg.memory.exchange.commands import StoreError
    from thalweg.memory.snapshots.snapshots import UnknownVersion
    from thalweg.memory.snapshots.state import DamagedFile
    from thalweg.ops.config.addresses import AddressInUse
    from thalweg.stream.journal.journal import JournalError
    from thalweg.stream.learn.blocks import HistoryLost
    from thalweg.stream.learn.settings import StateMismatch
    from thalweg.stream.log.log import LogError
    from thalweg.stream.sources.files import FileError

    if isinstance(error, (StateMismatch, AddressInUse)):  # a restart would not help
        logs.failure(str(error))
        sys.exit(2)
    failures = (Failed, FileError, LogError, StoreError, JournalError, HistoryLost, UnknownVersion, DamagedFile)
    if isinstance(error, PermissionError):
        from thalweg.ops.run.resources.ownership import not_ours

        logs.failure(f"error: {not_ours(error)}")
        sys.exit(1)
    if isinstance(error, (*failures, OSError)):
        logs.failure(f"error: {error}")
        sys.exit(1)
    raise error
