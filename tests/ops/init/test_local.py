"""Numbers, times and missing values in a file as people write them: read, or told aloud; never silently hashed."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thalweg.models.columns.settings import columns_of
from thalweg.models.contract.learner import ParamsError
from thalweg.ops.cli import init
from thalweg.ops.config.config import load
from thalweg.ops.init.guess import Guess, guess, kind_of
from thalweg.ops.init.sample import Sample
from thalweg.ops.replay.replay import replay
from thalweg.ops.run.failed import Failed
from thalweg.proto.bounds.local_forms import local_number
from thalweg.proto.rejected import Refused
from thalweg.proto.rows.column import Column
from thalweg.proto.rows.values import column_array
from thalweg.stream.sources.mapping import CsvMapping

MANY = 40


def kind(values: Sequence[Any]) -> Guess:
    found = kind_of("x", values, len(values))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("texts", "form", "first"),
    [
        (["3,14", "2,5", "-0,75"], "1.234,5", 3.14),
        (["1.234,50", "7,00", "1.000.000,00"], "1.234,5", 1234.5),
        (["1,234.50", "7.00", "1,000,000.00"], "1,234.5", 1234.5),
        (["1 234,5", "7,25"], "1.234,5", 1234.5),
        (["1'234.5", "7.25"], "1,234.5", 1234.5),
        (["12 %", "7%", "0 %"], "1,234.5", 12.0),
        (["12,5 %", "7,25%"], "1.234,5", 12.5),
        (["$5.00", "-$1,200.50", "$ 3"], "1,234.5", 5.0),
        (["5,00 €", "1.200,50 €", "-3,10 €"], "1.234,5", 5.0),
        (["USD 12", "USD 9.5"], "1,234.5", 12.0),
        (["12 kr", "1 200,5 kr"], "1.234,5", 12.0),
        (["12 kg", "7.5 kg", "1,200 kg"], "1,234.5 kg", 12.0),
        (["12,5km/h", "7km/h"], "1.234,5 km/h", 12.5),
        (["21.5 °C", "-3 °C"], "1,234.5 °C", 21.5),
        (["75 m²", "80.5 m²"], "1,234.5 m²", 75.0),
        (["(12.50)", "7.00", "(1,200.00)"], "1,234.5", -12.5),
    ],
)
def test_numbers_as_people_write_them_are_numeric(texts: list[str], form: str, first: float) -> None:
    found = kind(texts * MANY)

    assert (found.kind, found.options["format"]) == ("numeric", form)
    column = Column(name="x", kind="numeric", format=form)
    assert column_array(column, [*texts, "", None, 8, "NA"])[[0, -2]].tolist() == [first, 8.0]


def test_a_format_with_two_readings_is_told_aloud_unless_other_columns_of_the_file_have_one() -> None:
    rows = [{"a": f"{i},{100 + i}", "b": f"{i},5", "y": i % 2} for i in range(1, MANY)]
    alone = guess(Sample([{"a": row["a"], "y": row["y"]} for row in rows], ["a", "y"]), "y").columns["a"]
    beside = guess(Sample(rows, ["a", "b", "y"]), "y").columns["a"]

    assert alone.options["format"] == "1,234.5"
    assert "is taken for 1101; format = '1.234,5' if it is not" in alone.doubt
    assert (beside.options["format"], beside.doubt) == ("1.234,5", "")


def test_a_point_of_thousands_beside_decimal_commas_is_told_aloud() -> None:
    rows = [{"a": float(f"{i}.5"), "b": f"{i},5", "y": i % 2} for i in range(1, MANY)]
    assert "thousands, as that of b" in guess(Sample(rows, ["a", "b", "y"]), "y").columns["a"].doubt


@pytest.mark.parametrize(
    ("texts", "form"),
    [
        (["31.12.2026", "01.02.2025"], "%d.%m.%Y"),
        (["31.12.2026 14:30", "01.02.2025 00:01"], "%d.%m.%Y %H:%M"),
        (["12/31/2026", "02/01/2025"], "%m/%d/%Y"),
        (["31-Dec-2026", "01-Feb-2025"], "%d-%b-%Y"),
        (["Dec 31, 2026", "Feb 1, 2025"], "%b %d, %Y"),
        (["2026/12/31 23:59:59", "2025/02/01 00:00:00"], "%Y/%m/%d %H:%M:%S"),
        (["12/31/2026 02:30 PM", "02/01/2025 11:00 AM"], "%m/%d/%Y %I:%M %p"),
    ],
)
def test_times_as_people_write_them_are_times(texts: list[str], form: str) -> None:
    found = kind([*texts * MANY, "?"])

    assert (found.kind, found.options) == ("datetime", {"format": form, "missing_values": ["?"]})
    assert found.doubt == ""
    column = Column(name="x", kind="datetime", format=form)
    seconds = column_array(column, [*texts, ""])
    assert np.datetime64(int(seconds[1]), "s").astype("datetime64[D]") == np.datetime64("2025-02-01")
    assert np.isnan(seconds[2])


def test_days_and_months_that_could_be_swapped_are_told_aloud() -> None:
    assert "format = '%m/%d/%Y' then" in kind(["01/02/2025", "05/06/2025"] * MANY).doubt
    assert kind(["25/02/2025", "05/06/2025"] * MANY).doubt == ""


@pytest.mark.parametrize(
    ("values", "kind_found"),
    [
        (["TRUE", "FALSE"], "boolean"),
        (["Yes", "no"], "boolean"),
        (["Y", "N"], "boolean"),
        (["yes", "maybe"], "categorical"),
        (["12.50", "-3.0", ".5"], "numeric"),
        (["01234", "80331"], "categorical"),
        (["12345", "80331"], "categorical"),
        (["1.2", "1.2.3"], "categorical"),
        (["NO", "DE", "SE"], "categorical"),
        (["ABC 123", "DEF 456"], "categorical"),
        (["10.0.0.1", "10.0.0.2"], "categorical"),
    ],
)
def test_truth_values_of_every_habit_and_codes_that_are_no_numbers(values: list[str], kind_found: str) -> None:
    assert kind(values * MANY).kind == kind_found
    if kind_found == "boolean":
        assert column_array(Column(name="x", kind="boolean"), values).tolist() in ([1.0, 0.0], [0.0, 1.0])


def test_what_looks_like_numbers_in_no_known_form_is_told_aloud() -> None:
    assert "in a form that is not known" in kind([f"{i}x{i}" for i in range(1, 200)]).doubt
    assert kind([f"street {i}" for i in range(200)]).doubt == ""


@pytest.mark.parametrize("texts", [["DE", "FR"], [f"street {i}" for i in range(100)], ["a b c d e"] * 50])
def test_markers_of_missing_values_are_seen_in_categories_and_texts(texts: list[str]) -> None:
    rows = [{"c": text, "y": i % 2} for i, text in enumerate([*texts * 2, "?", "?", "unknown", "n/a", "none", ""])]
    found = guess(Sample(rows, ["c", "y"]), "y").columns["c"]

    assert found.options["missing_values"] == ["?", "unknown", "n/a"], "none may be a category"


def test_a_column_of_markers_alone_or_without_any_names_none() -> None:
    assert (
        "missing_values"
        not in guess(Sample([{"c": "?", "y": i} for i in range(9)], ["c", "y"]), "y").columns["c"].options
    )
    assert "missing_values" not in kind(["DE", "FR", "ND"] * MANY).options


def test_from_a_local_file_to_a_model_with_what_is_doubtful_said_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, config = tmp_path / "de.csv", tmp_path / "de.toml"
    with file.open("w", newline="") as out:
        write = csv.writer(out, delimiter=";")
        write.writerow(["betrag", "datum", "land", "mass", "label"])
        for i in range(1, 200):
            write.writerow([f"{i},50 €", f"{1 + i % 28:02d}.{1 + i % 12:02d}.2026", "?DEF"[i % 4], f"{i}x{i}", i % 2])

    init.run(str(file), log_url=None, label=None, ignore=(), output=config, most=1000)
    model = load(config, {}).model[0]
    done = replay(model, file, CsvMapping(delimiter=";"))

    assert (done.events, done.unusable) == (199, 0)
    assert 'betrag = { kind = "numeric", format = "1.234,5" }' in config.read_text()
    assert 'datum = { kind = "datetime", format = "%d.%m.%Y" }' in config.read_text()
    doubt = "numbers or times in a form that is not known? They are texts here"
    assert f"# please check: {doubt}\nmass" in config.read_text()
    assert f"please check mass: {doubt}" in capsys.readouterr().err


def test_a_label_of_a_few_local_numbers_is_told_aloud_and_one_of_many_refused() -> None:
    many = [{"x": i % 7, "y": f"{i},5"} for i in range(MANY)]
    with pytest.raises(Failed, match="write them with a point"):
        guess(Sample(many, ["x", "y"]), "y")

    rows = [{"x": i % 7, "y": f"{i % 5},5"} for i in range(MANY)]
    assert "for a regression write them as numbers" in guess(Sample(rows, ["x", "y"]), "y").label_doubt


@pytest.mark.parametrize("texts", [["59 GB", "142 MB", "3 kB"], ["1st", "2nd", "3rd"], ["12 kg", "7 g", "9 mg"]])
def test_numbers_of_several_units_are_texts_and_told_aloud_where_they_are_many(texts: list[str]) -> None:
    found = kind([f"{place}{text}" for place in range(MANY) for text in texts])

    assert found.kind == "hashed"
    assert "in a form that is not known" in found.doubt


@pytest.mark.parametrize("text", ["7 g", "7 KG", "kg", "kg 7", "7 kg kg"])
def test_a_number_of_another_unit_is_refused_and_one_without_any_is_read(text: str) -> None:
    column = Column(name="x", kind="numeric", format="1,234.5 kg")

    assert column_array(column, ["7", 7, "7kg", " 7 kg ", "n/a"])[:4].tolist() == [7.0] * 4
    with pytest.raises(Refused, match=r"column 'x', numeric: expected a number such as 1,234\.5 kg"):
        column_array(column, [text])


def test_numbers_among_many_texts_are_told_aloud() -> None:
    found = kind([value for i in range(MANY * 4) for value in (i / 7, i / 3, "bad")])

    assert found.kind == "hashed"
    assert 'such as "bad": kind = "numeric" with missing_values = ["bad"]' in found.doubt


@pytest.mark.parametrize("text", ["1,23", "abc", "--5", "-$-5", "1.2.3", "€", "(-5)", "(5", "()", "5 kg"])
def test_what_is_no_number_of_the_format_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=f"no number such as 1,234.5: {re.escape(repr(text))}"):
        local_number(text, "1,234.5")
    with pytest.raises(Refused, match=r"column 'x', numeric: expected a number such as 1,234\.5"):
        column_array(Column(name="x", kind="numeric", format="1,234.5"), [text])


@pytest.mark.parametrize(
    ("kind_of_column", "form"),
    [
        ("numeric", "1.2"),
        ("numeric", "1,234.5kg"),
        ("numeric", "1,234.5 7"),
        ("datetime", "%d.%m"),
        ("datetime", "%B %d"),
        ("datetime", "%d.%m.%Y %d"),
        ("datetime", "%Q"),
        ("boolean", "1,234.5"),
    ],
)
def test_a_format_that_is_none_is_refused(kind_of_column: str, form: str) -> None:
    with pytest.raises(ParamsError, match="format"):
        columns_of({"x": {"kind": kind_of_column, "format": form}})
