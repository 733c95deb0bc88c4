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
from thalweg.ops.init.guess import guess
from thalweg.ops.init.kinds import Guess, kind_of
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


@pytest.mark.parametrize("texts", [["1st", "2nd", "3rd"], ["12 kg", "7 km", "9 h"], ["12 crates", "7 boxes"]])
def test_numbers_of_units_that_measure_different_things_are_texts_and_told_aloud(texts: list[str]) -> None:
    found = kind([f"{place}{text}" for place in range(MANY) for text in texts])

    assert found.kind == "hashed"
    unit, other = texts[0].lstrip("0123456789 "), texts[1].lstrip("0123456789 ")
    assert f'format = "1,234.5 {unit}", units = {{ {other} = … }}' in found.doubt


@pytest.mark.parametrize(
    ("texts", "form", "units", "told", "numbers"),
    [
        (["1.5 kg"] * 99 + ["121 g"], "1,234.5 kg", {"g": 0.001}, "1 in g, each 0.001 kg", [1.5, 0.121]),
        (["1,5 kg"] * 2 + ["121 g"], "1.234,5 kg", {"g": 0.001}, "1 in g, each 0.001 kg", [1.5, 0.121]),
        (["59 GB", "59 GB", "142 MB"], "1,234.5 GB", {"MB": 0.001}, "1 in MB", [59, 0.142]),
        (["12 kg", "12"], "1,234.5 kg", None, "1 have no unit, and are taken for kg", [12, 12]),
        (["12 kg", 12.5], "1,234.5 kg", None, "1 have no unit, and are taken for kg", [12, 12.5]),
        (["1.2M", "950K", "17"], "1,234.5", {"K": 1e3, "M": 1e6}, "", [1.2e6, 950e3, 17]),
        (["5 kg"] * 199 + ["2 crates"], "1,234.5 kg", None, "1 in crates: rows with them are refused; units = {", [5]),
        (["12 %", 0.12], "1,234.5", None, "1 have a percent sign, which is left out, and 1 have none", [12, 0.12]),
        (["$5.50", "€6.50"], "1,234.5", None, "several currencies", [5.5, 6.5]),
    ],
)
def test_units_of_one_kind_are_made_one_and_told_aloud(
    texts: list[Any], form: str, units: dict[str, float] | None, told: str, numbers: list[float]
) -> None:
    found = kind(texts)

    assert (found.kind, found.options["format"], found.options.get("units")) == ("numeric", form, units)
    assert told in found.doubt
    assert bool(found.doubt) == bool(told)
    column = columns_of({"x": {"kind": found.kind, **found.options}})["x"]
    assert column_array(column, list(dict.fromkeys(texts))[: len(numbers)]).tolist() == numbers


def test_currencies_are_told_although_other_columns_say_how_numbers_are_written() -> None:
    rows = [{"cost": f"{'$€'[i % 2]}{i},50", "other": f"{i},25", "y": i % 2} for i in range(1, MANY)]

    assert "several currencies" in guess(Sample(rows, ["cost", "other", "y"]), "y").columns["cost"].doubt


def test_a_column_of_units_is_written_so_that_it_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, config = tmp_path / "w.csv", tmp_path / "w.toml"
    lines = [f"{i / 8:.3f} kg,{i % 2}" if i % 9 else f"{i} g,{i % 2}" for i in range(1, 100)]
    file.write_text("\n".join(["weight,label", *lines, "3 lb,1"]))

    init.run(str(file), log_url=None, label=None, ignore=(), output=config, most=99)
    done = replay(load(config, {}).model[0], file)

    assert 'weight = { kind = "numeric", format = "1,234.5 kg", units = { g = 0.001 } }' in config.read_text()
    assert "please check weight: several units: 11 in g, each 0.001 kg" in capsys.readouterr().err
    assert (done.events, done.unusable) == (99, 1)
    with pytest.raises(Refused) as refused:
        column_array(load(config, {}).model[0].named_columns()["weight"], ["3 lb"])
    assert "or in g (units = { lb = … } says how many kg one lb is), got the text '3 lb'" in str(refused.value)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"units": {"g": 0.001}}, "expected a format beside it"),
        ({"format": "1,234.5 kg", "units": {"g": 0}}, "expected above 0"),
        ({"format": "1,234.5 kg", "units": {"1 2": 3}}, "expected units such as kg"),
    ],
)
def test_units_that_are_none_are_refused(options: dict[str, Any], wanted: str) -> None:
    with pytest.raises(ParamsError, match=wanted):
        columns_of({"x": {"kind": "numeric", **options}})


@pytest.mark.parametrize(("text", "number"), [("12,34,567.5", 1234567.5), ("₹1,00,000", 100000), ("0.063", 0.063)])
def test_numbers_of_india_and_small_ones_with_three_decimals(text: str, number: float) -> None:
    assert local_number(text, "1,234.5") == number
    with pytest.raises(ValueError, match="no number"):
        local_number(text, "1.234,5")


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
