"""The table of a TOML file, in UTF-8 or what its byte order mark says, whatever the locale is."""

from __future__ import annotations

import codecs
import tomllib
from pathlib import Path
from typing import Any

_MARKS = (  # those of UTF-32 begin with those of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_table(path: Path) -> dict[str, Any]:
    """The table of a file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no TOML, or not in its encoding; the message has the line.
    """
    raw = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), "utf-8")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"expected UTF-8, as TOML is, got byte 0x{raw[error.start]:02x} in line {line}: save the file as UTF-8"
            if encoding == "utf-8"
            else f"expected {encoding.removesuffix('-sig')}, as its byte order mark says: {error.reason}"
        ) from None
    return tomllib.loads(text)
