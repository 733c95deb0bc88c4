"""Bodies of HTTP requests: which types and encodings are read, and how much one may hold and expand to."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from starlette.requests import Request

from thalweg.ops.serve.bounds.byte_budget import BytesOfRequest, HoldsBytes
from thalweg.ops.serve.errors import TooLarge, UnsupportedMedia
from thalweg.proto.json_text import expanded_bytes
from thalweg.proto.schema import InputError

HEADER_LENGTH = "inference-header-content-length"
"""Of the binary tensor extension: bytes of the JSON before the tensors."""
_JSON_TYPES = (
    "",
    "application/json",
    "text/json",
    "text/plain",  # a browser's fetch() of a text
    "application/x-www-form-urlencoded",  # curl's -d, whatever the data is
)
_CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii", "utf-16", "utf-32")
_ENCODINGS = {"gzip": 31, "x-gzip": 31, "deflate": zlib.MAX_WBITS}
_RAW_DEFLATE = -zlib.MAX_WBITS
_BOUND = "(service.max_message_bytes); send less at once"
_PIECE_BYTES = 1 << 18
_WORTH_BYTES = 128  # shorter answers do not become shorter
_LEVEL = 4


def check_media(headers: Mapping[str, str]) -> None:
    """Refuse a body that would not be read.

    Raises:
        UnsupportedMedia: Its type or its encoding is not supported; the message lists those that are.
    """
    kind, _, rest = headers.get("content-type", "").lower().partition(";")
    kind = kind.strip()
    if kind == "application/octet-stream" and HEADER_LENGTH not in headers and "ce-type" not in headers:
        raise UnsupportedMedia(
            "content-type application/octet-stream: expected the header Inference-Header-Content-Length, "
            "the length of the JSON before the tensors"
        )
    if kind not in (*_JSON_TYPES, "application/octet-stream") and not (
        kind.startswith("application/") and kind.endswith("+json")
    ):
        raise UnsupportedMedia(f"content-type: expected application/json, got {kind!r:.80}")
    for parameter in rest.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip(" \"'") not in _CHARSETS:
            raise UnsupportedMedia(f"content-type: expected charset utf-8, got {value.strip()!r:.80}")
    encoding = _encoding(headers)
    if encoding and encoding not in _ENCODINGS:
        raise UnsupportedMedia(f"content-encoding: expected gzip, deflate or identity, got {encoding!r:.80}")


async def received(request: Request, held: BytesOfRequest, most: int) -> bytearray:
    """The body as it came, still encoded.

    Raises:
        TooLarge: It has more than `most` bytes, or holds more memory than all requests may.
        QueueFull: The requests that are here hold too much.
    """
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and (len(length) > 18 or int(length) > most):
        raise TooLarge(f"the request is larger than {most} bytes {_BOUND}")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise TooLarge(f"the request is larger than {most} bytes {_BOUND}")
        held.add(len(part))
    return body


def decoded(headers: Mapping[str, str], body: bytearray, held: HoldsBytes, most: int) -> tuple[bytearray, int]:
    """The body without its encoding, and the bytes that its JSON will expand to, which are counted.

    Raises:
        InputError: It is not encoded as its header says.
        TooLarge: It expands to more than `most` bytes, or to more memory than all requests may hold.
        QueueFull: The requests that are here hold too much.
    """
    encoding = _encoding(headers)
    if encoding:
        body = _inflated(encoding, body, held, most)
    length = headers.get(HEADER_LENGTH, "")
    json_bytes = int(length) if length.isascii() and length.isdigit() and len(length) < 12 else len(body)
    expanded = expanded_bytes(body if json_bytes >= len(body) else body[:json_bytes])
    held.add(expanded)
    return body, expanded


def compressed(headers: Mapping[str, str], content: bytes) -> tuple[bytes, dict[str, str]]:
    """An answer as the caller asks for it in `accept-encoding`, and the headers that say so."""
    vary = {"vary": "accept-encoding"}
    if len(content) < _WORTH_BYTES:
        return content, vary
    wanted = _accepted(headers.get("accept-encoding", ""))
    for encoding in ("gzip", "deflate"):
        if wanted.get(encoding, wanted.get("*", 0.0) if encoding == "gzip" else 0.0) > 0:
            packer = zlib.compressobj(_LEVEL, wbits=_ENCODINGS[encoding])
            return packer.compress(content) + packer.flush(), {**vary, "content-encoding": encoding}
    return content, vary


def _encoding(headers: Mapping[str, str]) -> str:
    encoding = headers.get("content-encoding", "").strip().lower()
    return "" if encoding == "identity" else encoding


def _accepted(header: str) -> dict[str, float]:
    """Encodings and their weights."""
    found = {}
    for entry in header.lower().split(",")[:32]:
        name, *parameters = entry.split(";")
        weight = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
        found[name.strip()] = weight
    return found


def _inflated(encoding: str, body: bytearray, held: HoldsBytes, most: int) -> bytearray:
    """Expands piece by piece, so that no bound is passed by more than a piece."""
    bits = _ENCODINGS[encoding]
    if encoding == "deflate" and not _has_zlib_head(body):
        bits = _RAW_DEFLATE  # what some clients take deflate for
    unpacker, waiting, found = zlib.decompressobj(bits), bytes(body), bytearray()
    try:
        while not unpacker.eof:
            piece = unpacker.decompress(waiting, _PIECE_BYTES)
            waiting = unpacker.unconsumed_tail
            if not piece and not waiting:
                break
            found += piece
            if len(found) > most:
                raise TooLarge(f"the request expands to more than {most} bytes {_BOUND}")
            held.add(len(piece))
    except zlib.error as error:
        raise InputError(f"the request is not {encoding}: {error}") from error
    if not unpacker.eof:
        raise InputError(f"the request is not {encoding}: it ends too early")
    if unpacker.unused_data:
        raise InputError(f"the request is not {encoding}: {len(unpacker.unused_data)} bytes follow its end")
    return found


def _has_zlib_head(body: bytearray) -> bool:
    return len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
