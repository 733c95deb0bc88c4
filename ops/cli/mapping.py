"""The options that say how a file is read, as `replay`, `produce` and `init` share them."""

from __future__ import annotations

from thalweg.ops.config.error import ConfigurationError
from thalweg.stream.sources.encodings import text_encoding
from thalweg.stream.sources.files import CsvMapping


def mapping(
    label: str = "",
    time: str | None = None,
    id: str | None = None,
    ignore: str | None = None,
    delimiter: str = "",
    time_unit: float = 1.0,
    encoding: str = "",
) -> CsvMapping:
    """The mapping of these options. Raises ConfigurationError for an invalid one."""
    ignored = None if ignore is None else [name.strip() for name in ignore.split(",") if name.strip()]
    mark = {"tab": "\t", "\\t": "\t", "space": " "}.get(delimiter, delimiter)
    if len(mark) > 1 or mark in ("\n", "\r", '"'):
        raise ConfigurationError([f"--delimiter: expected one character, or tab, got {delimiter!r:.80}"])
    try:
        encoding = text_encoding(encoding)
    except ValueError as error:
        raise ConfigurationError([f"--encoding: {error}"]) from None
    return CsvMapping(
        label=label, time=time, id=id, ignore=ignored, delimiter=mark, time_unit=time_unit, encoding=encoding
    )
