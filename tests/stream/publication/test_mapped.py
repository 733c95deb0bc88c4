"""Who follows versions on their way into use."""

from __future__ import annotations

import time
from pathlib import Path

from tests.stream.publication.test_file_channel import Filled, filled
from thalweg.stream.publication.file_channel import FilePublisher, FileSubscriber
from thalweg.stream.publication.ports import VersionInfo


def test_who_follows_versions_is_told_of_each_once_in_use_and_not_of_those_confirmed(
    tmp_path: Path,
) -> None:
    told: list[tuple[int, int]] = []

    def mapped(info: VersionInfo) -> None:
        assert watching.current is not None
        told.append((info.version, watching.current.info.version))

    publisher = FilePublisher(tmp_path)
    watching = FileSubscriber(tmp_path, Filled, mapped=mapped)  # type: ignore[arg-type]
    for version in (1, 2):
        publisher.publish(filled(version), version=version, learned_events=1, event_time=0.0)  # type: ignore[arg-type]
        watching.look()
        publisher.confirm(time.time())
        assert watching.look()

    assert told == [(1, 1), (2, 2)]
