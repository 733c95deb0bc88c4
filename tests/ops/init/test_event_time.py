"""The column of event times: in order, since 1970, and not in the future."""

from __future__ import annotations

import random
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from thalweg.ops.init.guess import guess
from thalweg.ops.init.sample import Sample, file_sample
from thalweg.ops.init.write import configuration

DAYS = [(date(2024, 1, 1) + timedelta(days=day // 3)).isoformat() for day in range(90)]
BORN = [(date(1950, 1, 1) + timedelta(days=random.Random(day).randrange(20_000))).isoformat() for day in range(90)]


def guessed(**columns: list[Any]) -> Any:
    names = [*columns, "label"]
    rows = [dict(zip(names, [*values, number % 2])) for number, values in enumerate(zip(*columns.values()))]
    return guess(Sample(rows, names))


@pytest.mark.parametrize(
    ("columns", "time"),
    [
        ({"birth_date": BORN, "created": DAYS}, "created"),
        ({"created": DAYS, "birth_date": BORN}, "created"),
        ({"birth_date": BORN}, ""),
        ({"birth_date": sorted(BORN)}, ""),
        ({"due_date": [day.replace("2024", "2094") for day in DAYS]}, ""),
        ({"created": DAYS[::-1]}, ""),
        ({"updated": random.Random(1).sample(DAYS, 90), "created": DAYS}, "created"),
        ({"Buchungstag": DAYS}, "Buchungstag"),
        ({"Buchungstag": DAYS, "Wertstellung": DAYS}, ""),
        ({"created": [1_700_000_000 + 60 * row for row in range(90)]}, "created"),
        ({"created": [None, *DAYS[1:]]}, "created"),
        ({"created": [*DAYS[:45], *[None] * 45]}, ""),
    ],
)
def test_the_time_is_a_column_in_order_that_has_happened(columns: dict[str, list[Any]], time: str) -> None:
    found = guessed(**columns)

    assert found.time == time
    assert set(columns) <= set(found.columns)  # it is learned from in any case


def test_the_configuration_says_why_a_column_is_not_the_time() -> None:
    text = configuration(
        guessed(birth_date=BORN), name="a", topic="a", log_url="sqlite:a", origin="a", rows=90, own_form=False
    )

    assert "# time = " in text
    assert "birth_date is not it: some are before 1970" in text


@pytest.mark.parametrize("kind", ["parquet", "feather", "arrows"])
def test_a_file_of_arrow_is_sampled_as_the_same_rows_of_json(kind: str, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "born": [date.fromisoformat(day) for day in BORN],
            "address": [{"floor": row % 5} for row in range(90)],
            "raw": [b"\xff"] * 90,
            "label": [row % 2 == 0 for row in range(90)],
        }
    )
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        pq.write_table(table, path)
    else:
        with (pa.ipc.new_file if kind == "feather" else pa.ipc.new_stream)(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=20)

    sample = file_sample(path, 50)
    found = guess(sample)

    assert len(sample.rows) == 50
    assert (sample.rows[0]["born"], sample.names) == (BORN[0], ["born", "address.floor", "raw", "label"])
    assert {name: one.kind for name, one in found.columns.items()} == {"born": "datetime", "address.floor": "numeric"}
    assert (found.label, found.time, "neither numbers nor texts" in found.left_out["raw"]) == ("label", "", True)


def test_dates_over_many_years_count_themselves_and_those_of_a_log_do_not() -> None:
    draw = random.Random(1)
    days = [date(1940, 1, 1) + timedelta(days=draw.randrange(25_000)) for _ in range(100)]
    since = [date(2005, 1, 1) + timedelta(days=70 * number) for number in range(100)]
    recent = [date(2026, 1, 1) + timedelta(days=draw.randrange(300)) for _ in range(100)]

    found = guessed(
        born=[str(one) for one in days], since=[str(one) for one in since], paid=[str(one) for one in recent]
    )

    trends = {name: one.options.get("trend", False) for name, one in found.columns.items()}
    assert trends == {"born": True, "since": False, "paid": False}
    written = configuration(found, name="m", topic="m", log_url="sqlite:m", origin="m", rows=100, own_form=False)
    assert 'born = { kind = "datetime", trend = true }' in written
