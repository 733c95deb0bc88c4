"""The end of a journal as bytes, for another host."""

from __future__ import annotations

import re
from pathlib import Path

from thalweg.memory.files import make_folder, sync_folder, write_durably
from thalweg.stream.journal.segments import path_of, segments

_BEGIN = re.compile(rb"([0-9]{1,19})\n", re.ASCII)


def tail(folder: Path, version: int) -> bytes | None:
    """The entries above a version, perhaps with some before them; None if the journal does not reach back to it.

    Its writer may be at it: the last line may be torn, as after a crash. Raises OSError.
    """
    begins = segments(folder)
    needed = [
        begin for begin, following in zip(begins, [*begins[1:], None]) if following is None or following > version
    ]
    if not needed or needed[0] > version:
        return None
    try:
        parts = [path_of(folder, begin).read_bytes() for begin in needed]
    except FileNotFoundError:  # a newer snapshot has made it unnecessary
        return None
    return b"%d\n" % needed[0] + b"".join(parts)


def restore_tail(folder: Path, content: bytes) -> None:
    """Write what `tail` gave into the folder of a journal that has nothing. Anything else is left out.

    Raises OSError.
    """
    found = _BEGIN.match(content)
    if found is None or segments(folder):
        return
    make_folder(folder)
    write_durably(path_of(folder, int(found[1])), content[found.end() :])
    sync_folder(folder)
