"""A TCP proxy of one port for tests: it delays what comes from behind it, and cuts connections in the middle."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress


class Proxy:
    """Takes connections on `port` and passes their bytes to and from `target`, a port of this machine."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.delay_seconds = 0.0
        """How long each piece from the target is held back."""
        self.cut_after_bytes = 0
        """A connection is cut once so many bytes from the target have passed; 0: never."""
        self.cuts = 0
        """Connections cut so far."""
        self._open: set[socket.socket] = set()
        self._forgotten: set[socket.socket] = set()
        self._begin()

    def close(self) -> None:
        """Take no more connections, and end those that are open: connecting to it is refused."""
        for one in [self._listener, *self._open]:
            _end(one)

    def forget(self) -> None:
        """Pass on nothing more of the connections that are open, and do not end them: as a router that is restarted."""
        self._forgotten |= self._open

    def reopen(self) -> None:
        """Take connections again at the same port."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._begin()

    def _begin(self) -> None:
        threading.Thread(target=self._take, args=(self._listener,), daemon=True).start()

    def _take(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:  # closed
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:  # nobody listens there, so nobody does here
                near.close()
                continue
            self._open |= {near, far}
            threading.Thread(target=self._pass, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(far, near, True), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, from_target: bool) -> None:
        passed = 0
        try:
            while piece := source.recv(16384):
                if source in self._forgotten:
                    continue
                if from_target:
                    time.sleep(self.delay_seconds)
                    passed += len(piece)
                    if 0 < self.cut_after_bytes <= passed:
                        self.cuts += 1
                        sink.sendall(piece[: len(piece) // 2])
                        break
                sink.sendall(piece)
        except OSError:  # one side has gone
            pass
        for one in (source, sink):
            _end(one)
            self._open.discard(one)


def _end(one: socket.socket) -> None:
    with suppress(OSError):  # it never was connected, or is not any more
        one.shutdown(socket.SHUT_RDWR)
    one.close()
