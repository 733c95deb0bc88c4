"""A caller that sends half of a gRPC message: HTTP/2 by hand, because no gRPC client does that."""

from __future__ import annotations

import socket
import struct


class HalfSent:
    """One call whose message of `size` bytes is sent up to its last byte.

    Args:
        port: Of the gRPC server.
        path: The full name of the method.
        size: Bytes of the message; at least 2.
    """

    def __init__(self, port: int, path: str, size: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b""))
        headers = ((":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"))
        more = (("content-type", "application/grpc"), ("te", "trailers"))
        self._socket.sendall(_frame(1, 4, 1, b"".join(_literal(*header) for header in headers + more)))
        self._socket.sendall(_frame(0, 0, 1, struct.pack(">BI", 0, size)))
        self._window = {0: 65_530, 1: 65_530}
        self._left = size - 1
        self._initial = 65_535
        self.ended = False

    def send(self, seconds: float) -> bool:
        """Send what the server's windows allow; whether all but the last byte is sent, or the server ended the call."""
        self._socket.settimeout(seconds)
        while self._left and not self.ended:
            count = min(self._left, 16_384, *self._window.values())
            if count:
                self._socket.sendall(_frame(0, 0, 1, bytes(count)))
                self._left -= count
                self._window = {stream: left - count for stream, left in self._window.items()}
            elif not self.read():
                return False
        return True

    def read(self) -> bool:
        """Read one frame; False if none came in time."""
        try:
            head = self._exactly(9)
            content = self._exactly(int.from_bytes(head[:3], "big"))
        except TimeoutError:
            return False
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:9], "big")
        if kind == 8:  # WINDOW_UPDATE
            self._window[stream] = self._window.get(stream, 0) + int.from_bytes(content, "big")
        elif kind == 4 and not flags:  # SETTINGS
            for place in range(0, len(content), 6):
                name, value = struct.unpack_from(">HI", content, place)
                if name == 4:
                    self._window[1] += value - self._initial
                    self._initial = value
            self._socket.sendall(_frame(4, 1, 0, b""))
        elif kind == 6 and not flags:  # PING
            self._socket.sendall(_frame(6, 1, 0, content))
        elif kind in (1, 3) and stream == 1:  # trailers, RST_STREAM
            self.ended = True
        return True

    def close(self) -> None:
        self._socket.close()

    def _exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            part = self._socket.recv(count - len(found))
            if not part:
                self.ended = True
                return found + bytes(count - len(found))
            found += part
        return found


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content


def _literal(name: str, value: str) -> bytes:
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
