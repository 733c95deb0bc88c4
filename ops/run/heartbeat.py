"""The heartbeat of a process, heard by its supervisor over a pipe: no file, no disk and no clock can silence it.

It begins with the process, before anything heavy is imported. A process that is stopped (SIGSTOP), or whose interpreter
lock is never released, sends none.
"""

from __future__ import annotations

import os
import threading
import time

HEARTBEAT = "THALWEG_HEARTBEAT"
"""The environment variable with the number of the file descriptor that a process writes to."""
_EVERY_SECONDS = 0.5
_LONGEST_STEP_SECONDS = 1.0


class Heartbeat:
    """The supervisor's end; one for each start of a process."""

    def __init__(self) -> None:
        self._read, self.write = os.pipe()
        """`write` is for the process that is started."""
        for end in (self._read, self.write):
            os.set_blocking(end, False)
        self._open = True
        self._looked = time.monotonic()
        self.silent_seconds = 0.0
        """How long nothing was heard, as of the last `listen`."""

    def started(self) -> None:
        """The process has its end: close ours."""
        if self._open:
            os.close(self.write)
            self._open = False

    def listen(self) -> float:
        """Hear what has come; how long nothing was heard.

        While the supervisor itself does not run (a machine that is suspended or overloaded) nobody is silent: at most
        a second is counted from one call to the next.
        """
        now = time.monotonic()
        step, self._looked = min(now - self._looked, _LONGEST_STEP_SECONDS), now
        try:
            heard = bool(os.read(self._read, 65_536))
        except BlockingIOError:
            heard = False
        self.silent_seconds = 0.0 if heard else self.silent_seconds + step
        return self.silent_seconds

    def close(self) -> None:
        """Close the pipe."""
        self.started()
        os.close(self._read)


def begin() -> bool:
    """Send a heartbeat to the supervisor from now on; whether there is one."""
    given = os.environ.pop(HEARTBEAT, "")
    if not given.isdigit():
        return False
    os.set_inheritable(int(given), False)
    threading.Thread(target=_beat, args=(int(given),), name="heartbeat", daemon=True).start()
    return True


def _beat(pipe: int) -> None:
    while True:
        try:
            os.write(pipe, b".")
        except BlockingIOError:
            pass  # the supervisor is behind; it has enough to hear
        except OSError:
            return  # there is no supervisor any more
        time.sleep(_EVERY_SECONDS)
