"""The code of learners that are not ours is a part of the software that a state was learned with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from thalweg.models.contract import revisions
from thalweg.models.contract.revisions import LEARNER_CODE, learning_software


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    revisions._own_code.cache_clear()


def code(learner: str) -> str | None:
    revisions._own_code.cache_clear()
    return learning_software(learner).get(LEARNER_CODE)


def test_a_changed_own_estimator_is_other_software(tmp_path: Path) -> None:
    file = tmp_path / "estimators_of_mine.py"
    file.write_text("class Mine: rate = 1\n")
    first = code("river:estimators_of_mine.Mine")

    file.write_text("class Mine: rate = 2\n")

    assert first is not None
    assert code("river:estimators_of_mine.Mine") not in (None, first)
    assert "estimators_of_mine" not in sys.modules  # it is read, not run


def test_any_source_of_an_own_package_counts(tmp_path: Path) -> None:
    (tmp_path / "package_of_mine" / "inner").mkdir(parents=True)
    (tmp_path / "package_of_mine" / "__init__.py").write_text("")
    inner = tmp_path / "package_of_mine" / "inner" / "steps.py"
    inner.write_text("rate = 1\n")
    first = code("sklearn:package_of_mine.estimators.Mine")

    inner.write_text("rate = 2\n")

    assert first is not None
    assert code("sklearn:package_of_mine.estimators.Mine") not in (None, first)


@pytest.mark.parametrize(
    "learner", ["ridge", "river:river.linear_model.LogisticRegression", "sklearn:nowhere.Mine", "no_such_learner"]
)
def test_learners_with_a_version_or_without_sources_have_no_code_of_their_own(learner: str) -> None:
    assert code(learner) is None
