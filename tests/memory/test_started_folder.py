"""Relative paths of learners lead where the service was started."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from thalweg.memory import started_folder
from thalweg.memory.started_folder import placed, start_here
from thalweg.models.bottleneck.freezing import rows_of_file


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    started_folder._folder.clear()


def test_a_file_of_a_learner_is_found_after_a_plug_in_has_changed_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "keys.npy", np.ones((3, 2)))
    monkeypatch.chdir(tmp_path)
    start_here()
    monkeypatch.chdir("/")

    assert rows_of_file("keys.npy", 2).shape == (3, 2)
    assert placed("/elsewhere/w.safetensors") == Path("/elsewhere/w.safetensors")


def test_in_a_notebook_a_path_is_in_the_working_directory_of_the_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "keys.npy", np.ones((3, 2)))
    monkeypatch.chdir("/")
    monkeypatch.chdir(tmp_path)

    assert rows_of_file("keys.npy", 2).shape == (3, 2)
