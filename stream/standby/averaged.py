"""What a journal's averages brought along, in the object store: whoever applies the journal again needs it."""

from __future__ import annotations

from pathlib import Path

from thalweg.memory.snapshots.remote import RemoteSnapshots
from thalweg.stream.journal.attachments import attachment_path, has_attachment, put_attachment
from thalweg.stream.journal.entries import AveragingEntry
from thalweg.stream.journal.tail import Tail


def upload_averaged(remote: RemoteSnapshots, folder: Path, content: bytes) -> None:
    """Upload what a tail of the journal in this folder needs, before the tail is. Raises ObjectsUnavailable."""
    found = Tail.of(content)
    for entry in [] if found is None else found.averaged():
        remote.save_averaged(entry.version, entry.sha256, attachment_path(folder, entry.version))


class Averaged:
    """Fetches what the averages of one shard brought along.

    Args:
        remote: The shard's snapshots in the store.
        folder: That of its journal here.
    """

    def __init__(self, remote: RemoteSnapshots, folder: Path) -> None:
        self._remote, self._folder = remote, folder
        self._here: set[tuple[int, str]] = set()

    def fetch(self, tail: Tail, version: int) -> tuple[Tail, int | None]:
        """As much of a tail as can be applied to a version, and the first version that cannot, if there is one.

        Nobody can learn further without what was averaged: that is as if the journal had not been uploaded so far.
        Raises ObjectsUnavailable, OSError.
        """
        entries = tail.averaged()
        self._here &= {(entry.version, entry.sha256) for entry in entries}
        for entry in entries:  # also those that led to the version: who is before it goes on by them
            if not self._have(entry) and entry.version > version:
                return tail.before(entry.version), entry.version
        return tail, None

    def _have(self, entry: AveragingEntry) -> bool:
        key = (entry.version, entry.sha256)
        if key in self._here and attachment_path(self._folder, entry.version).is_file():
            return True
        if not has_attachment(self._folder, entry):
            content = self._remote.averaged(*key)
            if content is None or not put_attachment(self._folder, entry, content):
                return False
        self._here.add(key)
        return True
