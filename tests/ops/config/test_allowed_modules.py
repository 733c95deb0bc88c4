"""With `service.allowed_modules`, what a configuration names is imported only from there, by `check` too."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from thalweg.models.contract import registry
from thalweg.models.encoders import encoder
from thalweg.models.parts.user_modules import allow
from thalweg.ops.config.config import load
from thalweg.ops.config.error import ConfigurationError
from thalweg.proto.task import CLASSIFICATION
from thalweg.stream.evaluation import tasks

MODULE = """
import pathlib, subprocess
from subprocess import check_output
import numpy as np
pathlib.Path({mark!r}).touch()

def encode(x):
    return np.asarray(x, dtype=np.float32)

class shell:
    run = subprocess.check_output

def network():
    import torch
    return torch.nn.Linear(2, 2)

def views(x, count, generator):
    yield x
"""
RIDGE = 'learner = "ridge"\ninputs.x = { shape = [2] }\n'
COTTA = 'learner = "cotta"\ninputs.x = { shape = [2] }\n[model.params]\nvariant = "tent"\n'
NAMED = {
    "encoder": RIDGE + 'encoder = "users_of_test:encode"\n',
    "network": COTTA + 'model = "users_of_test:network"\n',
    "river": 'learner = "river:users_of_test.encode"\ncolumns.x = "numeric"\n',
    "sklearn": 'learner = "sklearn:users_of_test.encode"\ncolumns.x = "numeric"\n',
    "class in params": 'learner = "river:river.linear_model.LogisticRegression"\ncolumns.x = "numeric"\n'
    '[model.params]\noptimizer = { class = "users_of_test.encode" }\n',
    "plug-in": 'learner = "theirs"\ninputs.x = { shape = [2] }\n',
}


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that stands there once the user's module was imported."""
    found = tmp_path / "imported"
    (tmp_path / "users_of_test.py").write_text(MODULE.format(mark=str(found)))
    points = EntryPoints([EntryPoint("theirs", "users_of_test:encode", registry.GROUP)])
    monkeypatch.setattr(registry, "entry_points", lambda group: points.select(group=group))
    encoder._encoders.clear()  # one process has one configuration, and one import of each
    yield found
    sys.modules.pop("users_of_test", None)
    allow(None)


def checked(folder: Path, model: str, allowed: Any) -> str:
    """The mistakes of a configuration; empty if it has none."""
    path = folder / "t.toml"
    service = "" if allowed is None else f"allowed_modules = {allowed}\n"
    path.write_text(f'[service]\n{service}[[model]]\nname = "m"\ntopic = "t"\n{model}')
    try:
        load(path, {})
    except ConfigurationError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("named", NAMED)
@pytest.mark.parametrize("allowed", ['["others"]', "[]", '["users"]', '["users_of_test.inner"]', "3"])
def test_what_is_not_on_the_list_is_not_imported(tmp_path: Path, mark: Path, named: str, allowed: str) -> None:
    told = checked(tmp_path, NAMED[named], allowed)

    assert not mark.exists()
    assert "service.allowed_modules" in told


@pytest.mark.parametrize("named", NAMED)
@pytest.mark.parametrize("allowed", [None, '["users_of_test"]'])
def test_without_a_list_and_on_it_it_is_imported(tmp_path: Path, mark: Path, named: str, allowed: str | None) -> None:
    told = checked(tmp_path, NAMED[named], allowed)

    assert mark.exists(), told
    assert "allowed_modules" not in told


def test_views_of_a_module_that_is_not_allowed_are_not_imported(tmp_path: Path, mark: Path) -> None:
    views = COTTA + 'model = "thalweg.ops.demo.camera:classifier"\nviews = "users_of_test:views"\n'

    assert "users_of_test:views" in checked(tmp_path, views, "[]")
    assert not mark.exists()


def test_a_grading_of_a_module_that_is_not_allowed_is_not_imported(mark: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = EntryPoints([EntryPoint("ranking", "users_of_test:encode", tasks.GROUP)])
    monkeypatch.setattr(tasks, "entry_points", lambda **given: points.select(**given))
    allow([])

    with pytest.raises(tasks.UnknownTask, match=r"service\.allowed_modules"):
        tasks.grading_of(replace(CLASSIFICATION, name="ranking"))
    assert not mark.exists()


@pytest.mark.parametrize(
    "model",
    [
        RIDGE + 'encoder = "users_of_test:subprocess.check_output"\n',
        RIDGE + 'encoder = "users_of_test:check_output"\n',
        'learner = "river:users_of_test.subprocess.check_output"\ncolumns.x = "numeric"\n',
        'learner = "river:users_of_test.check_output"\ncolumns.x = "numeric"\n[model.params]\nargs = "id"\n',
    ],
)
def test_a_module_on_the_list_is_no_way_to_what_it_imports(tmp_path: Path, mark: Path, model: str) -> None:
    assert "module 'subprocess' is not imported" in checked(tmp_path, model, '["users_of_test"]')


def test_a_name_that_is_none_is_a_mistake(tmp_path: Path, mark: Path) -> None:
    assert "expected names of modules, got 'a:b'" in checked(tmp_path, RIDGE, '["a:b"]')
