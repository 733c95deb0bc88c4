"""What every built-in learner brings: a page, rows in the tables of learners, the battery, a sample for the service."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from tests.samples import sample
from thalweg.models.contract.registry import BUILT_IN, find
from thalweg.models.testing import LearnerContract
from thalweg.ops.config.config import load
from thalweg.ops.dev.learner_table import PAGES, table, written
from thalweg.ops.run.app import new_learner
from thalweg.proto.event import join

ROOT = Path(__file__).parents[3]
LEARNERS = pytest.mark.parametrize("name", sorted(BUILT_IN))


@LEARNERS
def test_it_has_a_page_under_its_name(name: str) -> None:
    page = (ROOT / "docs" / "learners" / f"{name}.md").read_text()

    assert page.startswith(f"# {name}\n")
    assert f'learner = "{name}"' in page


@pytest.mark.parametrize(("page", "folder"), PAGES.items(), ids=lambda value: str(value).removeprefix(f"{ROOT}/"))
def test_the_tables_of_learners_are_those_of_the_registry(page: Path, folder: str) -> None:
    assert written(page.read_text(), folder) == page.read_text(), "run: python -m thalweg.ops.dev.learner_table"
    assert all(f"]({folder}{name}.md) | {BUILT_IN[name].summary} |" in page.read_text() for name in BUILT_IN)


def test_a_table_is_written_in_place_of_the_old_one_and_what_stands_around_it_stays() -> None:
    page = "before\n\n" + table("x/").replace("ridge", "rigde") + "\nafter\n\n| other |\n"

    assert written(page, "x/") == "before\n\n" + table("x/") + "\nafter\n\n| other |\n"
    with pytest.raises(ValueError, match="there is no table to replace"):
        written("nothing", "")


@LEARNERS
def test_it_passes_the_battery(name: str) -> None:
    assert any(isinstance(battery().new(), _class_of(name)) for battery in _batteries(name)), (
        f"expected a LearnerContract of {name} in tests/models/test_{name}.py or tests/models/{name}/"
    )


@LEARNERS
def test_its_sample_is_a_configuration_and_events_that_it_learns_from(name: str, tmp_path: Path) -> None:
    given = sample(name)
    (tmp_path / "thalweg.toml").write_text(
        f'[service]\nstate_dir = "{tmp_path}"\n[[model]]\nname = "m"\ntopic = "m.events"\n{given.configuration}'
    )
    model = load(tmp_path / "thalweg.toml", {}).model[0]
    learner = new_learner(model)
    before = learner.state().sha256()

    learner.learn(join([given.events(20), given.events(20, 20)]))

    assert model.learner == name
    assert learner.state().sha256() != before
    again = given.events(20)
    for column, array in given.events(20).inputs.items():
        np.testing.assert_array_equal(again.inputs[column], array)
    assert (again.ids or [])[:2] == ["e0", "e1"]


def test_a_learner_without_a_sample_is_named() -> None:
    with pytest.raises(
        LookupError, match=r"'unheard_of' brings no sample: expected SAMPLE in tests.models.test_unheard"
    ):
        sample("unheard_of")


def _class_of(name: str) -> type:
    factory = find(name)
    assert isinstance(factory, type)
    return factory


def _batteries(name: str) -> Iterator[type[LearnerContract]]:
    """Those of the learner's own test modules."""
    tests = ROOT / "tests" / "models"
    for path in [*tests.glob(f"test_{name}.py"), *sorted((tests / name).glob("test_*.py"))]:
        module = import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for kind in vars(module).values():
            if inspect.isclass(kind) and issubclass(kind, LearnerContract) and kind.__name__.startswith("Test"):
                yield kind
