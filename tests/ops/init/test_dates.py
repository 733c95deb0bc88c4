"""Dates in the forms that programs of every age write, and rows in the wrong order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thalweg.models.columns.settings import columns_of
from thalweg.ops.cli import init
from thalweg.ops.config.config import load
from thalweg.ops.init.guess import guess
from thalweg.ops.init.kinds import Guess, kind_of
from thalweg.ops.init.sample import Sample
from thalweg.ops.init.slips import slips_told
from thalweg.ops.replay.replay import replay
from thalweg.proto.rows.values import column_array

MAY = 1_746_230_400  # 2025-05-03


def kind(name: str, values: list[Any]) -> Guess:
    found = kind_of(name, values, len(values))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("value", "pattern", "seconds"),
    [
        (20250503, "%Y%m%d", 0),
        (20250503.0, "%Y%m%d", 0),
        ("20250503", "%Y%m%d", 0),
        (20250503123000, "%Y%m%d%H%M%S", 45_000),
        ("20250503T123000", "", 45_000),
        ("20250503T123000.5Z", "", 45_000.5),
        ("2025-05-03 12:30:00+00", "", 45_000),
        ("2025-05-03t12:30:00z", "", 45_000),
        ("2025-05-03 12:30:00,250", "", 45_000.25),
        ("2025-05-03 12", "", 43_200),
        ("03.05.2025 12:30:00,250", "%d.%m.%Y %H:%M:%S,%f", 45_000.25),
        ("Sat, 03 May 2025 12:30:00 GMT", "%a, %d %b %Y %H:%M:%S GMT", 45_000),
        ("2025-05-03 12:30:00 UTC", "%Y-%m-%d %H:%M:%S UTC", 45_000),
        ("2025-05-03 12:30:00 +0200", "%Y-%m-%d %H:%M:%S %z", 37_800),
        ("Sat May 03 12:30:00 2025", "%a %b %d %H:%M:%S %Y", 45_000),
    ],
)
def test_dates_as_programs_write_them(value: Any, pattern: str, seconds: float) -> None:
    found = kind("date", [value] * 30)
    options = {"format": pattern} if pattern else {}

    assert (found.kind, found.options, found.doubt) == ("datetime", options, "")
    column = columns_of({"date": {"kind": "datetime", **options}})["date"]
    read = column_array(column, [value, None, value])
    assert read[[0, 2]].tolist() == [MAY + seconds] * 2
    assert np.isnan(read[1])


@pytest.mark.parametrize(
    ("name", "values"),
    [("pin", ["123456", "111111"]), ("amount", [20250503, 20250504]), ("date", [20259903, 1]), ("date", [12345678, 3])],
)
def test_other_digits_are_no_dates(name: str, values: list[Any]) -> None:
    assert kind(name, values * 20).kind != "datetime"


def test_dates_in_several_forms_and_in_none_that_is_known_are_told_aloud() -> None:
    mixed = kind("date", [f"{1 + i % 28:02d}.05.2025" if i % 2 else f"2025-05-{1 + i % 28:02d}" for i in range(60)])
    zone = kind("when", [f"2025-05-03 12:{i:02d}:00 CET" for i in range(60)])

    assert 'dates in several forms, such as "2025-05-03" and "04.05.2025"?' in mixed.doubt
    assert 'dates in a form that is not known, such as "2025-05-03 12:59:00 CET"?' in zone.doubt
    assert kind("address", [f"10.0.0.{i}" for i in range(40)]).doubt == ""


def test_rows_with_the_newest_first_are_told_aloud(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, config = tmp_path / "d.csv", tmp_path / "d.toml"
    rows = [f"2025-05-{28 - i // 2:02d},{i % 7},{i % 2}" for i in range(50)]
    file.write_text("\n".join(["day,x,label", *rows]))

    init.run(str(file), log_url=None, label=None, ignore=(), output=config, most=1000)

    assert "please check the order of rows: day runs backwards" in capsys.readouterr().err
    assert replay(load(config, {}).model[0], file).labelled == 50
    mixed = [{"day": f"2025-05-{1 + i * 11 % 28:02d}", "label": i % 2} for i in range(50)]
    assert guess(Sample(mixed, ["day", "label"])).time_doubt == ""


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["no", "no "] * 30 + ["yes"], "'no' (30) and 'no ' (30)"),
        (["Yes", "yes", "YES"] * 30, "'Yes' (30) and 'yes' (30) and 'YES' (30)"),
        (["yes", "no"] * 30, ""),
    ],
)
def test_classes_that_differ_by_spaces_or_case_alone_are_told_however_often_they_come(
    texts: list[str], told: str
) -> None:
    said = slips_told(texts)

    assert told in said
    assert bool(said) == bool(told)
