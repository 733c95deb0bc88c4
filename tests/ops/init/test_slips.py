"""A class that was seen once and looks like a slip of the pen is told; so are ratings beyond 0 to 1."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from thalweg.ops.cli.main import app
from thalweg.ops.init.labels import numbers_beyond_one
from thalweg.ops.init.slips import one_edit, slips, slips_told


@pytest.mark.parametrize("slip", ["fruad", "frauds", "frau", "frxud", "Fraud", "rfaud", "fraud "])
def test_one_letter_more_less_other_or_swapped_is_a_slip(slip: str) -> None:
    assert one_edit(slip, "fraud")
    assert one_edit("fraud", slip)
    assert slips(["fraud"] * 5 + ["genuine"] * 5 + [slip]) == [(slip, "fraud")]


@pytest.mark.parametrize("slip", ["Yes", "YES", " yes", "yes ", "yEs  "])
def test_another_case_or_spaces_around_it_are_a_slip_of_any_length(slip: str) -> None:
    assert slips(["no"] * 9 + ["yes"] * 5 + [slip]) == [(slip, "yes")]


@pytest.mark.parametrize(
    "texts",
    [
        ["fraud"] * 5 + ["fruad"] * 2,  # came more than once
        ["fraud"] * 5 + ["farud", "genuine", "durfa"][1:],
        [f"sensor{n}" for n in range(9)] + ["sensor1"] * 5,  # digits count names up
        ["yes"] * 5 + ["yet"],  # too short to tell
        ["fraud", "fruad"],  # which of them is meant?
    ],
)
def test_other_classes_are_none(texts: Iterable[str]) -> None:
    assert slips_told(texts) == ""


def test_init_says_it_in_the_file_and_on_standard_error(tmp_path: Path) -> None:
    rows = [f"{n % 7 + n / 100},{'fraud' if n % 4 == 0 else 'genuine'}" for n in range(200)]
    (tmp_path / "p.csv").write_text("\n".join(["amount,kind", *rows, "5.5,fruad"]) + "\n")

    done = CliRunner().invoke(app, ["init", "--from", str(tmp_path / "p.csv")])

    told = "classes that look mistyped: 'fruad' (once; 'fraud'?); each would be a class of its own"
    assert re.search(f"# please check: .*{re.escape(told)}", done.stdout)
    assert told in done.stderr


def test_of_ratings_it_is_said_that_a_recommender_learns_from_0_to_1(tmp_path: Path) -> None:
    for name, label in (("stars", lambda n: n % 5 + 1), ("click", lambda n: n % 2)):
        rows = [f"u{n % 9},i{n % 7},{label(n)}" for n in range(200)]
        (tmp_path / f"{name}.csv").write_text("\n".join([f"user_id,item_id,{name}", *rows]) + "\n")
        said = CliRunner().invoke(app, ["init", "--from", str(tmp_path / f"{name}.csv")]).stdout

        assert ('# learner = "error_memory"' in said) == (name == "stars")
        assert ('\nlearner = "error_memory"' in said) == (name == "click")
        assert ("# Here it is 1 to 5, and error_memory skips what is not from 0 to 1." in said) == (name == "stars")


def test_the_range_of_labels_is_told_beyond_0_to_1_alone() -> None:
    assert numbers_beyond_one([1, 5, None, 3.5]) == "1 to 5"
    assert numbers_beyond_one([-1, 1]) == "-1 to 1"
    assert numbers_beyond_one([0, 1, 0.5]) == numbers_beyond_one(["good", "5"]) == ""
