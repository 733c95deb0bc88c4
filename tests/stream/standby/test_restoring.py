"""A host that dies while it restores a state from the object store goes on with the same bits when it starts again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.stream.standby.hosts import Owner, appended, close_all
from thalweg.memory.snapshots.remote import RemoteSnapshots
from thalweg.stream.learn.saving import mirror
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.standby.marks import copied_generation, kept_generation


class Killed(BaseException):
    """Ends a process here."""


def killed(*_: Any) -> NoReturn:
    raise Killed


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


@pytest.mark.parametrize("before", [(RemoteSnapshots, "restore"), (RemoteSnapshots, "journal"), (mirror, "mark_owned")])
@pytest.mark.parametrize("was_owner", [False, True])
def test_who_dies_while_it_restores_goes_on_when_it_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: tuple[Any, str], was_owner: bool
) -> None:
    log, url, folder = InMemoryLog(), f"file:{tmp_path / 'objects'}", tmp_path / "host"
    sent = appended(log, 0, 20)
    owners = [Owner(folder, url, log)] if was_owner else []
    for one in owners:
        while one.turn():
            pass
        one.upload()
        one.kill()
    owner = Owner(tmp_path / "owner", url, log)
    appended(log, sent, 30)
    while owner.turn():
        pass
    owner.upload()
    owner.kill()

    with monkeypatch.context() as death:
        death.setattr(*before, killed)
        with pytest.raises(Killed):
            Owner(folder, url, log)
    again = Owner(folder, url, log)

    assert again.place == owner.place
    assert copied_generation(folder) is None
    assert kept_generation(folder) == len(owners) + 3
