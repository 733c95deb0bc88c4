"""`thalweg init`: what it guesses, and that the configuration it writes is accepted and learns."""

from __future__ import annotations

import gzip
import json
import random
import tomllib
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.framing.test_framing import avro, framed, written
from tests.stream.registry.test_schemas import InMemoryRegistry
from thalweg.ops.cli import init
from thalweg.ops.config.config import load
from thalweg.ops.init.guess import guess
from thalweg.ops.init.kinds import kind_of
from thalweg.ops.init.sample import Sample, file_sample, json_sample, topic_sample
from thalweg.ops.init.write import configuration
from thalweg.ops.replay.replay import replay
from thalweg.ops.run.failed import Failed
from thalweg.stream.log.in_memory import InMemoryLog
from thalweg.stream.log.log import Message
from thalweg.stream.log.open import open_log
from thalweg.stream.registry.schemas import KnownSchemas


def _payments(rows: int = 400) -> list[dict[str, object]]:
    random.seed(7)
    made: list[dict[str, object]] = []
    for row in range(rows):
        amount = round(random.lognormvariate(3, 1), 2)
        made.append(
            {
                "payment_id": f"p-{row}",
                "created": 1_700_000_000_000 + 1000 * row,
                "amount": None if row % 9 == 0 else amount,
                "customer": {"country": random.choice(["DE", "FR", None]), "vip": row % 2 == 0},
                "tags": random.sample(["new", "web", "gift"], 2),
                "is_fraud": amount > 40,
            }
        )
    return made


def _lines(rows: list[dict[str, object]]) -> list[bytes]:
    return [json.dumps(row).encode() for row in rows]


def _written(sample: Sample, **given: str) -> dict[str, object]:
    text = configuration(
        guess(sample, given.get("label")),
        name="m",
        topic="m.events",
        log_url="sqlite:state/log.db",
        origin="file.csv",
        rows=len(sample.rows),
        own_form=sample.own_form,
    )
    return dict(tomllib.loads(text)["model"][0])


def test_each_column_of_nested_records_gets_its_kind():
    model = _written(json_sample(_lines(_payments()), 1000))
    assert model["columns"] == {
        "created": {"kind": "datetime", "unit": "ms"},
        "amount": "numeric",
        "customer.country": {"kind": "categorical", "max_categories": 8},
        "customer.vip": "boolean",
        "tags": {"kind": "list", "buckets": 64},
    }
    assert model["fields"] == {
        "label": "is_fraud",
        "id": "payment_id",
        "time": {"field": "created", "unit": "ms"},
    }


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("price", [1, 2.5, -3], "numeric"),
        ("zip", ["01234", "99999", "80331"], "categorical"),
        ("day", [1, 2, 3, 1], "numeric"),
        ("active", ["true", "false"], "boolean"),
        ("created_at", ["2026-01-02T03:04:05Z", "2026-01-02"], "datetime"),
        ("ts", [1_700_000_000, 1_700_000_100], "datetime"),
        ("amount", [1_700_000_000, 1_700_000_100], "numeric"),
        ("who", [f"user-{i % 900}" for i in range(2000)], "hashed"),
        ("comment", [f"a few more words {i} in a row" for i in range(200)], "text"),
        ("vector", [[1, 2.5], [3, 4]], "list"),
        ("mixed", [1, "a", True], "categorical"),
    ],
)
def test_the_kind_follows_from_the_values(name, values, kind):
    found = kind_of(name, values, len(values))
    assert found is not None
    assert found.kind == kind


def test_a_label_of_many_different_numbers_makes_a_regression():
    random.seed(1)
    rows = [{"x": random.random(), "target": random.random()} for _ in range(300)]
    assert _written(json_sample(_lines(rows), 1000))["params"] == {"task": "regression"}


@pytest.mark.parametrize("gap", ["NA", "nan", "n/a", None, ""])
def test_a_value_that_says_it_is_missing_makes_no_column_a_text_and_no_number_a_class(gap: str | None):
    rows: list[dict[str, object]] = [{"x": n / 7, "target": n * 1.5} for n in range(300)]
    rows[10] = {"x": gap, "target": 1.0}
    rows[20] = {"x": 1.0, "target": gap}
    model = _written(json_sample(_lines(rows), 1000))
    assert model["columns"] == {"x": "numeric"}
    assert model["params"] == {"task": "regression"}


def test_a_few_odd_values_leave_a_column_numeric():
    values: list[object] = [n / 7 for n in range(1000)]
    found = kind_of("total", [*values, "lots"], 1001)
    assert found is not None
    assert (found.kind, "lots" in found.doubt) == ("numeric", True)


NUMBERS = [n / 7 for n in range(40)]


@pytest.mark.parametrize(
    ("values", "kind", "markers"),
    [
        ([*NUMBERS, "?"], "numeric", ["?"]),
        ([*NUMBERS, " ? ", "-", "-", "Unknown"], "numeric", ["-", "?", "Unknown"]),
        ([*NUMBERS, "N/A", "n.a."], "numeric", ["n.a."]),
        ([*NUMBERS, *["?"] * 100], "numeric", ["?"]),
        ([*NUMBERS, "keine Angabe", "keine Angabe"], "numeric", ["keine Angabe"]),
        (["2024-01-02", "2024-02-03T10:00:00Z", "-"], "datetime", ["-"]),
        ([True, "false", "unknown"], "boolean", ["unknown"]),
    ],
)
def test_texts_that_mark_missing_values_make_no_column_a_text(values: list[object], kind: str, markers: list[str]):
    found = kind_of("v", [one for one in values if one != "N/A"], len(values))
    assert found is not None
    assert (found.kind, found.options["missing_values"]) == (kind, markers)


@pytest.mark.parametrize(
    "values",
    [
        ["?", "-", "unknown"],
        [*NUMBERS, "A1", "A1", "B2"],
        [*NUMBERS, *["a", "b", "c", "d"] * 2],
        ["1", "x", "x", "y", "y"],
        [*NUMBERS, *["some", "some"] * 30],
    ],
)
def test_texts_that_are_values_are_no_markers(values: list[object]):
    found = kind_of("v", values, len(values))
    assert found is not None
    assert "missing_values" not in found.options
    assert found.kind in ("categorical", "hashed")


def test_a_file_with_markers_of_missing_values_is_configured_checked_and_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    random.seed(3)
    lines = ["age,rate,label"]
    for number in range(200):
        age = "?" if number % 5 == 0 else str(20 + number % 40)
        rate = "-" if number % 7 == 0 else f"{random.random():.3f}"
        lines.append(f"{age},{rate},{'old' if number % 40 > 20 else 'young'}")
    (tmp_path / "people.csv").write_text("\n".join(lines))
    init.run("people.csv", log_url=None, label=None, ignore=(), output=tmp_path / "a.toml", most=1000)

    (model,) = load(tmp_path / "a.toml", {}).model
    done = replay(model, tmp_path / "people.csv")

    assert [column.missing_values for column in model.named_columns().values()] == [("?",), ("-",)]
    assert (done.events, done.unusable) == (200, 0)
    known = done.learner.predictor().inner.known  # type: ignore[attr-defined]
    assert known.fired.all(), "the marks of missing values fire, too"


def test_labels_among_which_some_are_marked_as_missing_are_numbers():
    rows: list[dict[str, object]] = [{"x": n / 7, "target": "?" if n % 10 == 0 else n * 1.5} for n in range(300)]
    model = _written(json_sample(_lines(rows), 1000))
    assert model["params"] == {"task": "regression"}


def test_a_name_with_dots_is_a_topic(tmp_path: Path):
    log = f"sqlite:{tmp_path / 'log.db'}"
    with closing(open_log(log)) as opened:
        opened.append("shop.payments", list(map(Message, _lines(_payments(50)))))
    init.run("shop.payments", log_url=log, label=None, ignore=(), output=tmp_path / "out.toml", most=9)
    assert 'topic = "shop.payments"' in (tmp_path / "out.toml").read_text()
    with pytest.raises(Failed, match="no such file"):
        init.run("shop.csv", log_url=log, label=None, ignore=(), output=None, most=9)


def test_without_a_column_like_a_label_the_columns_are_named():
    rows: list[dict[str, object]] = [{"a": number, "b": number / 7} for number in range(50)]
    with pytest.raises(Failed, match=r"--label b for example; there are: a, b"):
        guess(json_sample(_lines(rows), 1000))


@pytest.mark.parametrize(("made", "told_apart"), [("R-{:05}", True), ("{}R", False), ("shop {:03}", False)])
def test_texts_that_only_number_the_rows_are_no_column(made: str, told_apart: bool):
    rows = [{**row, "invoice": made.format(row_number)} for row_number, row in enumerate(_payments(200))]
    for row in rows:
        del row["payment_id"]

    found = guess(json_sample(_lines(rows), 1000))

    assert ("invoice" in found.left_out, found.id == "invoice") == (told_apart, told_apart)


def test_a_column_whose_name_no_decoder_finds_is_left_out_with_the_reason():
    rows = [{'quote"d': float(row), "amount": float(row % 7), "label": row % 2} for row in range(60)]

    guessed = guess(json_sample(_lines(rows), 1000))

    assert list(guessed.columns) == ["amount"]
    assert "expected a name without" in guessed.left_out['quote"d']


def test_a_label_whose_name_no_decoder_finds_is_refused(tmp_path: Path):
    file = tmp_path / "odd.jsonl"
    file.write_bytes(b"\n".join(_lines([{'is"good': row % 2, "amount": float(row % 7)} for row in range(60)])))
    with pytest.raises(Failed, match="the label 'is\"good': expected a name without"):
        init.run(str(file), log_url=None, label='is"good', ignore=(), output=None, most=1000)


def test_a_mistyped_label_is_refused():
    with pytest.raises(Failed, match=r"'is_fruad': no such column; there are: payment_id"):
        guess(json_sample(_lines(_payments()), 1000), "is_fruad")


def test_records_of_our_own_form_need_no_fields():
    rows: list[dict[str, object]] = [
        {"id": str(n), "inputs": {"x": n / 3, "c": "ab"[n % 2]}, "label": "no"} for n in range(50)
    ]
    model = _written(json_sample(_lines(rows), 1000))
    assert "fields" not in model
    assert set(model["columns"]) == {"x", "c"}


def test_csv_is_read_with_its_delimiter_and_packed(tmp_path: Path):
    path = tmp_path / "day.CSV.gz"
    path.write_bytes(gzip.compress('\ufeffamount;label\r\n1,5;a\r\n"2;5";b\r\n'.encode()))
    sample = file_sample(path, 10)
    assert sample.delimiter == ";"
    assert sample.rows == [{"amount": "1,5", "label": "a"}, {"amount": "2;5", "label": "b"}]


@pytest.mark.parametrize("name", ["data.xlsx", "empty.csv", "noise.jsonl"])
def test_a_file_without_rows_is_refused_by_name(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(b"" if name == "empty.csv" else b"[1, 2]\nnot json\n")
    with pytest.raises(Failed, match=name):
        file_sample(tmp_path / name, 10)


def test_a_topic_is_sampled_like_a_file():
    log = InMemoryLog()
    log.append("payments", [Message(b"noise"), *map(Message, _lines(_payments(50)))])
    sample = topic_sample(log, "payments", 40, seconds=0.01)
    assert len(sample.rows) == 39
    assert sample.unusable == 1


def test_a_topic_of_framed_records_is_sampled_through_its_registry():
    kind = {
        "type": "record",
        "name": "P",
        "fields": [
            {"name": "amount", "type": ["null", "double"]},
            {"name": "paid", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "is_fraud", "type": "boolean"},
        ],
    }
    rows = [{"amount": n / 3, "paid": 1_700_000_000_000 + n, "is_fraud": n % 7 == 0} for n in range(60)]
    log = InMemoryLog()
    log.append(
        "payments", [Message(framed(9, b"of no schema")), *(Message(framed(1, written(kind, row))) for row in rows)]
    )

    sample = topic_sample(log, "payments", 61, 0.01, KnownSchemas(InMemoryRegistry({1: avro(kind)}), wait_seconds=0.0))
    text = configuration(
        guess(sample, None, ()),
        name="m",
        topic="payments",
        log_url="memory:",
        origin="payments",
        rows=60,
        own_form=sample.own_form,
        registry_url="http://registry:8081",
    )

    assert (len(sample.rows), sample.unusable) == (60, 1)
    made = tomllib.loads(text)
    assert made["log"]["registry"] == {"url": "http://registry:8081"}
    (model,) = made["model"]
    assert model["fields"]["label"] == "is_fraud"
    assert model["columns"]["amount"] == "numeric"
    assert "paid" in (model["columns"].keys() | {model["fields"].get("time")})
    with pytest.raises(Failed, match=r"framed for a schema registry \(schema 1, 9\): --registry URL"):
        topic_sample(log, "payments", 61, 0.01)


def test_an_existing_file_is_not_overwritten(tmp_path: Path):
    (tmp_path / "in.csv").write_text("a,label\n1,x\n2,y\n")
    (tmp_path / "out.toml").write_text("mine")
    with pytest.raises(Failed, match="exists already"):
        init.run(str(tmp_path / "in.csv"), log_url=None, label=None, ignore=(), output=tmp_path / "out.toml", most=9)
    assert (tmp_path / "out.toml").read_text() == "mine"


_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.lists(st.one_of(st.integers(-9, 9), st.text(max_size=3), st.none()), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(-9, 9), max_size=2),
)


@given(st.lists(st.dictionaries(st.text(max_size=6), _values, max_size=4), min_size=1, max_size=8))
def test_whatever_the_records_hold_the_result_is_valid_toml_or_a_reason(rows):
    try:
        model = _written(json_sample(_lines(rows), 100))
    except Failed:
        return
    assert model["columns"]


@pytest.mark.parametrize("text", ["0,0.5,DE,ok\n1,13.5,FR,bad\n2,26.5,DE,ok\n", "1,2,3\n4,5,6\n7,8,9\n"])
def test_a_file_without_a_header_is_told_aloud(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.csv"
    file.write_text(text * 20)

    init.run(str(file), log_url=None, most=1000, label=text.split("\n")[0].rpartition(",")[2], ignore=(), output=None)

    assert "please check the header: names such as" in capsys.readouterr().err


@pytest.mark.parametrize("head", ["n,amount,country,label", "id,2024,country,label", "x1,x2,x3,label"])
def test_names_are_no_rows(tmp_path: Path, head: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.csv"
    file.write_text(head + "\n" + "0,0.5,DE,ok\n1,13.5,FR,bad\n" * 20)

    init.run(str(file), log_url=None, most=1000, label="label", ignore=(), output=None)

    assert "please check the header" not in capsys.readouterr().err


def test_a_label_of_money_is_refused_with_what_to_write(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("amount;price\n" + "".join(f"{row};€ 1.{row:03},50\n" for row in range(200)))

    with pytest.raises(Failed, match=r"the label's texts, such as .* are numbers as people write them, 200 different"):
        init.run(str(file), log_url=None, most=1000, label="price", ignore=(), output=None)
