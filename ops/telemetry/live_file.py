"""A small file in the live folder that one process writes about once a second and others read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from thalweg.memory.kept_folders import is_away, must_be_kept
from thalweg.stream.health.registry import Health

log = structlog.get_logger(__name__)

REFRESH_SECONDS = 1.0


class LiveFile:
    """Writes the result of `render` atomically, in a separate thread.

    Args:
        path: The file.
        render: Its content; None: it is as it was.
        health: Whether it can be rendered and written.
    """

    def __init__(self, path: Path, render: Callable[[], bytes | None], health: Health | None = None) -> None:
        self._path = path
        self._beside = path.with_name(f".{path.name}")
        self._render = render
        self._health = health or Health("live_file")
        self._stopping = threading.Event()
        self._problem = ""
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Write at once, and from then on about once a second."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_writing, name=self._path.name, daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Write a last time and stop."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self._health.stopped()

    def _keep_writing(self) -> None:
        ended = False
        while True:
            self._write()
            if ended:
                return
            ended = self._stopping.wait(REFRESH_SECONDS)

    def _write(self) -> None:
        try:
            must_be_kept(self._path)
            if (content := self._render()) is not None:
                self._beside.write_bytes(content)
                self._beside.rename(self._path)
        except OSError as error:
            if str(error) != self._problem and not is_away(error):  # every second the same
                log.warning("cannot write a file for other processes", file=str(self._path), problem=str(error))
                self._problem = str(error)
            self._health.degraded(f"cannot write {self._path.name}: {error}")
        except Exception as error:  # a failure of one page must be logged and must not prevent the next
            log.exception("cannot render a file for other processes", file=str(self._path))
            self._health.degraded(f"cannot render {self._path.name}: {type(error).__name__}: {error}")
        else:
            if self._problem:
                log.info("a file for other processes is written again", file=str(self._path))
            self._problem = ""
            self._health.running()
