"""`thalweg.Model`: any table gives the state of the same events in a log; snapshots go to a service and back."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from safetensors.torch import save_file
from structlog.testing import capture_logs

import thalweg
from tests.models.small_networks import layered
from tests.services.processes import until
from thalweg.memory.exchange.open import open_commands
from thalweg.ops.config.config import Config, load
from thalweg.ops.config.error import ConfigurationError
from thalweg.ops.run.app import LearnerReports, build_processor, open_configured_log
from thalweg.ops.telemetry.learner_metrics import LearnerMetrics
from thalweg.ops.telemetry.status import LearnerStatus
from thalweg.stream.health.registry import HealthRegistry
from thalweg.stream.log.log import Message

COLUMNS = {"amount": "numeric", "country": "categorical", "at": "datetime", "ok": "boolean"}


def table(rows: int = 192, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "amount": random.normal(size=rows),
            "country": random.choice(np.array(["DE", "FR", None], dtype=object), rows),
            "at": pd.date_range("2026-01-01", periods=rows, freq="h"),
            "ok": random.random(rows) < 0.5,
        }
    )
    frame["is_fraud"] = (frame["amount"] + (frame["country"] == "DE")) > 0.8
    return frame


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Each row as a JSON record would have it."""
    rows = frame.rename(columns={"is_fraud": "label"}).to_dict("records")
    return [
        {name: None if value is pd.NaT or value != value else value for name, value in row.items()}
        | {"at": row["at"].isoformat()}
        for row in rows
    ]


def run(config: Config, folder: Path, events: list[dict[str, Any]]) -> tuple[str, int]:
    """Append events, learn all of the log, save; the state's hash and the events learned."""
    (model,) = config.model
    log, store = open_configured_log(config), open_commands(config.store.url)
    log.append(model.topic, [Message(json.dumps(event).encode()) for event in events])
    reports = LearnerReports(LearnerMetrics(), LearnerStatus(folder))
    processor, publisher = build_processor(config, model, log, store, folder / "live", reports, HealthRegistry())
    thread = threading.Thread(target=processor.run, daemon=True)
    thread.start()
    until("all is learned", lambda: sum(processor.position.values()) == len(events) - 1)
    processor.stop()
    thread.join()
    for part in (publisher, store, log):
        part.close()
    manifest = max(Path(config.service.state_dir, model.name).glob("*/manifest.json"), key=lambda p: int(p.parent.name))
    return json.loads(manifest.read_text())["state_sha256"], processor.events_learned


def configured(folder: Path, text: str) -> Config:
    folder.mkdir(exist_ok=True)
    (folder / "c.toml").write_text(
        text + f'\n[log]\nurl = "sqlite:{folder}/log.db"\n[store]\nurl = "sqlite:{folder}/store.db"\n'
    )
    return load(folder / "c.toml", {})


@pytest.mark.parametrize(
    "made",
    [
        lambda frame: frame,
        lambda frame: frame.convert_dtypes(),
        lambda frame: frame.astype({"country": "category"}),
        lambda frame: frame.set_index(frame.index + 7),
        pl.from_pandas,
        pa.Table.from_pandas,
        lambda frame: pa.Table.from_pandas(frame).to_batches()[0],
        lambda frame: frame.to_dict("list"),
        lambda frame: frame.to_dict("records"),
    ],
    ids=["pandas", "nullable", "category", "index", "polars", "arrow", "record batch", "lists", "rows"],
)
def test_every_library_gives_the_same_state_and_probabilities_of_its_own_kind(made: Any) -> None:
    frame = table()
    expected = thalweg.Model("ridge", columns=COLUMNS).learn(frame, frame["is_fraud"])
    given = made(frame)

    model = thalweg.Model("ridge", columns=COLUMNS).learn(given, "is_fraud")
    found = model.predict_proba(given)

    assert model.state_sha256() == expected.state_sha256()
    assert model.classes == expected.classes
    assert set(model.classes) == {"false", "true"}
    wanted = given if isinstance(given, pd.DataFrame | pl.DataFrame | pa.Table) else {}
    assert type(found) is type(wanted)
    columns = np.stack([np.asarray(found[name]) for name in model.classes], axis=1)
    assert np.array_equal(columns, expected.predict_proba(frame).to_numpy())
    assert np.abs(columns.sum(axis=1) - 1).max() < 1e-6
    if isinstance(given, pd.DataFrame):
        assert found.index.equals(given.index)


def test_the_events_in_a_log_end_in_the_same_state(tmp_path: Path) -> None:
    frame = table()
    model = thalweg.Model("ridge", columns=COLUMNS).learn(frame[:128], "is_fraud").learn(frame[128:], "is_fraud")
    columns = "\n".join(f'{name} = "{kind}"' for name, kind in COLUMNS.items())
    text = f'[service]\nstate_dir = "{tmp_path}/state"\n[[model]]\nname = "m"\nlearner = "ridge"\ntopic = "m.events"\n'

    learned, count = run(configured(tmp_path, f"{text}[model.columns]\n{columns}\n"), tmp_path, records(frame))

    assert count == model.learned == 192
    assert learned == model.state_sha256()


def test_a_service_goes_on_from_a_notebook_and_a_notebook_from_the_service(tmp_path: Path) -> None:
    first, second = table(128), table(64, seed=1)
    model = thalweg.Model("ridge", columns=COLUMNS, expansion=20, seed=3, frozen_after_events=64)
    model.learn(first, "is_fraud")

    saved = model.save(tmp_path / "state" / "fraud")
    with capture_logs() as logs:
        learned, count = run(configured(tmp_path, saved.configuration), tmp_path, records(second))
    served = thalweg.load(tmp_path / "state" / "fraud")

    assert "thalweg serve" in str(saved)
    assert [entry for entry in logs if entry["log_level"] in ("warning", "error")] == []
    assert served.monitor.frozen.metrics() == model.learn(second, "is_fraud").monitor.frozen.metrics() != {}
    assert count == 192
    assert learned == served.state_sha256() == model.state_sha256()
    assert served.metrics == model.metrics
    assert np.array_equal(served.predict(second), model.predict(second))
    with pytest.raises(thalweg.FrameError, match="a service learns there"):
        model.save(tmp_path / "state" / "fraud")


def test_a_saved_model_is_loaded_as_it_was_and_learns_on_alike(tmp_path: Path) -> None:
    frame = table()
    model = thalweg.Model("nearest_mean", batch_events=16).learn(frame[:100], "is_fraud")

    model.save(tmp_path / "m")
    found = thalweg.load(tmp_path / "m", batch_events=16)
    for one in (model, found):
        one.learn(frame[100:], "is_fraud")

    assert found.state_sha256() == model.state_sha256()
    assert found.columns == model.columns
    assert found.classes == model.classes
    model.save(tmp_path / "m")
    thalweg.Model("nearest_mean").learn(frame, "is_fraud").save(tmp_path / "m")  # the notebook is run again
    assert thalweg.load(tmp_path / "m").version == 1
    with pytest.raises(thalweg.FrameError, match="there is no snapshot"):
        thalweg.load(tmp_path)


def test_columns_are_inferred_and_the_label_is_none_of_them() -> None:
    frame = table().assign(price=[Decimal(row) / 7 for row in range(192)], id=[f"k{row}" for row in range(192)])

    model = thalweg.Model("ridge").learn(frame, frame["is_fraud"])

    kinds = {name: one["kind"] for name, one in model.columns.items()}
    assert kinds == COLUMNS | {"price": "numeric"}
    assert model.left_out == {"id": "a different value in each row"}


def test_arrays_are_tensors() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(64, 3)), random.integers(0, 2, 64)

    model = thalweg.Model("ridge").learn(x, y)
    by_name = thalweg.Model("ridge", inputs={"features": 3}).learn(pd.DataFrame(x), y)
    by_mapping = thalweg.Model("ridge", inputs={"features": 3}).learn({"features": x}, y)

    assert model.state_sha256() == by_name.state_sha256() == by_mapping.state_sha256()
    assert model.predict_proba(x).shape == (64, 2)
    assert set(model.predict(x)) <= {"0", "1"}


def test_numbers_are_predicted_and_missing_ones_are_unlabelled() -> None:
    x = np.arange(64.0)[:, None]
    y = [2 * value if value % 2 else None for value in range(64)]

    model = thalweg.Model("ridge", inputs={"x": 1}, task="regression", expansion=0).learn(x, y)

    assert model.learned == 32
    assert model.predict(x).shape == (64,)
    assert np.corrcoef(model.predict(x), 2 * x[:, 0])[0, 1] > 0.99
    with pytest.raises(thalweg.FrameError, match="gives no probabilities"):
        model.predict_proba(x)


def test_labels_that_are_missing_are_unlabelled_whatever_stands_for_them() -> None:
    frame = table(6)
    for labels in (
        pd.Series([True, None, pd.NA, False, np.nan, True], dtype=object),
        pd.Series([True, None, None, False, None, True], dtype="boolean"),
        pl.Series([True, None, None, False, None, True]),
        [True, None, float("nan"), False, None, True],
    ):
        assert thalweg.Model("nearest_mean", columns=COLUMNS).learn(frame, labels).learned == 3


def test_an_evaluation_grades_each_row_before_it_is_learned_and_shows_it() -> None:
    frame = table(400)
    model = thalweg.Model("ridge", columns=COLUMNS).learn(frame, "is_fraud")
    before = model.state_sha256()

    report = thalweg.evaluate(model, frame, "is_fraud")
    on = model.evaluate(frame, "is_fraud", go_on=True)

    assert report.metrics["accuracy"] == model.metrics["accuracy"]
    assert set(report.controls) == {"majority", "repeat_last_label"}
    assert on.metrics["accuracy"] > report.metrics["accuracy"]
    assert model.state_sha256() == before
    assert report._repr_html_().count("data:image/png;base64,") == 1
    assert (report._repr_png_() or b"").startswith(b"\x89PNG")
    assert "it had learned 400 events before" in on._repr_html_()


def test_an_empty_table_changes_nothing_and_is_answered_with_nothing() -> None:
    frame = table()
    model = thalweg.Model("ridge", columns=COLUMNS).learn(frame, "is_fraud")
    before = model.state_sha256()

    model.learn(frame[:0], "is_fraud")

    assert model.state_sha256() == before
    assert model.predict(frame[:0]).shape == (0,)
    assert model.predict_proba(frame[:0]).shape == (0, 2)


def test_before_anything_is_learned_no_class_is_known() -> None:
    model = thalweg.Model("ridge", columns=COLUMNS)

    assert model.predict(table(2)).tolist() == [None, None]
    assert model.predict_proba(table(2)).shape == (2, 0)


def bad(change: Any, labels: Any = "is_fraud") -> str:
    model = thalweg.Model("ridge", columns=COLUMNS).learn(table(), "is_fraud")
    before = model.state_sha256()
    with pytest.raises(thalweg.FrameError) as refused:
        model.learn(change(table()), labels)
    assert model.state_sha256() == before
    return str(refused.value)


DAYS = [dt.date(1969, 1, 1) + dt.timedelta(days=17 * day) for day in range(60)]
KINDS: dict[str, tuple[Any, Any, Any]] = {
    # values of a column, its kind, and the values of a record that mean the same
    "dates": (DAYS, "datetime", [day.isoformat() for day in DAYS]),
    "datetime64": (pd.Series(pd.to_datetime(DAYS)), "datetime", [day.isoformat() for day in DAYS]),
    "with a zone": (
        pd.Series(pd.date_range("2026-01-01", periods=60, tz="Europe/Berlin")),
        "datetime",
        pd.date_range("2026-01-01", periods=60, tz="Europe/Berlin").map(lambda one: one.isoformat()).tolist(),
    ),
    "periods": (
        pd.Series(pd.period_range("2020-01", periods=60, freq="M")),
        "datetime",
        pd.period_range("2020-01", periods=60, freq="M").map(lambda one: f"{one}-01").tolist(),
    ),
    "times of day": ([dt.time(hour % 5, 30) for hour in range(60)], "categorical", None),
    "durations": ([dt.timedelta(minutes=one) for one in range(60)], "numeric", [60.0 * one for one in range(60)]),
    "timedelta64": (pd.Series(pd.to_timedelta(range(60), "min")), "numeric", [60.0 * one for one in range(60)]),
    "decimals": ([Decimal(one) / 4 for one in range(60)], "numeric", [one / 4 for one in range(60)]),
    "UUIDs": ([UUID(int=one % 5) for one in range(60)], "categorical", [str(UUID(int=one % 5)) for one in range(60)]),
    "bytes": ([b"x", b"y", None] * 20, "categorical", ["x", "y", None] * 20),
    "categories": (pd.Series(["a", "b", None] * 20, dtype="category"), "categorical", ["a", "b", None] * 20),
    "nullable": (pd.Series([1, 2, None] * 20, dtype="Int64"), "numeric", [1, 2, None] * 20),
    "nullable booleans": (pd.Series([True, False, None] * 20, dtype="boolean"), "boolean", [True, False, None] * 20),
    "lists": ([[1.0, 2.0]] * 60, "list", [[1.0, 2.0]] * 60),
}
OF_PANDAS = ("UUIDs", "periods")
"""What Arrow and polars store as something else."""


def of_library(library: str, values: Any) -> Any:
    frame = pd.DataFrame({"v": values if isinstance(values, pd.Series) else pd.Series(values, dtype=object)})
    if library == "arrow":
        return pa.Table.from_pandas(frame)
    if library == "polars":
        return pl.from_arrow(pa.Table.from_pandas(frame))
    return frame if library == "pandas" else {"v": frame["v"].tolist()}


@pytest.mark.parametrize(
    ("name", "library"),
    [
        (name, library)
        for name in KINDS
        for library in ("pandas", "polars", "arrow", "lists")
        if library in ("pandas", "lists") or name not in OF_PANDAS
    ],
)
def test_a_column_of_any_dtype_is_of_the_sensible_kind_and_means_what_a_record_means(name: str, library: str) -> None:
    values, kind, same = KINDS[name]
    y = [one % 2 for one in range(60)]

    model = thalweg.Model("ridge").learn(of_library(library, values), y)

    assert model.columns["v"]["kind"] == kind
    if same is not None:
        again = thalweg.Model("ridge", columns=model.columns).learn({"v": same}, y)
        assert again.state_sha256() == model.state_sha256()


@pytest.mark.parametrize("column", [{"kind": "datetime", "unit": "ms"}, {"kind": "datetime"}, "categorical"])
def test_a_time_has_no_unit_and_is_a_text_where_a_column_takes_texts(column: Any) -> None:
    frame = pd.DataFrame({"v": pd.to_datetime(["2026-01-01 12:00", "1969-07-20", None, "2001-01-01"], format="mixed")})
    texts = ["2026-01-01T12:00:00+00:00", "1969-07-20T00:00:00+00:00", None, "2001-01-01T00:00:00+00:00"]

    one, other = (
        thalweg.Model("ridge", columns={"v": column}).learn(given, [1, 0, 1, 0]) for given in (frame, {"v": texts})
    )

    assert one.state_sha256() == other.state_sha256()
    with pytest.raises(thalweg.FrameError, match="column 'v', numeric: expected a number, got the text '2026"):
        thalweg.Model("ridge", columns={"v": "numeric"}).learn(frame, [1, 0, 1, 0])


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (pd.Series(pd.interval_range(0, 3)), "got Interval, .* its .left and .right are numbers"),
        (pl.Series([{"a": 1}] * 3), "Struct.*, row 0: .* got a struct, .* a column for each of its fields is taken"),
        (pd.Series([[{"a": 1}]] * 3), "got a list with a struct"),
        (pd.Series([b"\xff"] * 3), "got bytes that are no UTF-8"),
        (pd.Series([1j] * 3), "got complex"),
        (pd.Series([1, object(), 2]), "row 1: .* got object"),
    ],
)
@pytest.mark.parametrize("columns", [None, {"v": "numeric"}, {"v": "categorical"}, {"v": "datetime"}, {"v": "list"}])
def test_what_has_no_meaning_as_a_column_is_refused_with_its_type(values: Any, what: str, columns: Any) -> None:
    frame = pl.DataFrame({"v": values}) if isinstance(values, pl.Series) else pd.DataFrame({"v": values})

    with pytest.raises(thalweg.FrameError, match=rf"column 'v'.*{what}") as raised:
        thalweg.Model("ridge", columns=columns).learn(frame, [0, 1, 0])
    assert "expected numbers, booleans, texts, times or lists of these" in str(raised.value)


def test_ids_keys_and_times_are_read_as_those_of_records() -> None:
    model = thalweg.Model("ridge", columns={"v": "numeric"})

    batch = model.batch(
        {"v": [1.0, 2.0, 3.0]},
        [0, 1, None],
        ids=[3.0, True, UUID(int=7)],
        keys=["k", None, 2.5],
        times=["2023-11-14 22:13:20", 1_700_000_000_000, dt.datetime(2023, 11, 14, 22, 13, 20)],
    )

    assert batch.ids == ["3", "true", str(UUID(int=7))]
    assert batch.keys == ["k", None, "2.5"]
    assert batch.times.tolist() == [1.7e9] * 3
    with pytest.raises(thalweg.FrameError, match="time"):
        model.batch({"v": [1.0]}, times=["soon"])


def test_what_does_not_fit_is_refused_by_name() -> None:
    cases: dict[str, tuple[Any, Any]] = {
        "column 'amount': no such column; did you mean amuont?": (
            lambda f: f.rename(columns={"amount": "amuont"}),
            "is_fraud",
        ),
        "column 'is_frau': no such column; did you mean is_fraud?": (lambda f: f, "is_frau"),
        "column 'amount': expected one column of this name, got 2": (
            lambda f: pd.concat([f, f[["amount"]]], axis=1),
            "is_fraud",
        ),
        "column 'amount': the index has this name, too": (lambda f: f.rename_axis("amount"), "is_fraud"),
        "column 'amount': it is the frame's index; df.reset_index()": (lambda f: f.set_index("amount"), "is_fraud"),
        "column 'amount', numeric: expected a number, got the text 'much'": (
            lambda f: f.assign(amount="much"),
            "is_fraud",
        ),
        "column 'amount', numeric: expected a finite number": (lambda f: f.assign(amount=np.inf), "is_fraud"),
        "column 'ok': expected one column of this name, got 2": (
            lambda f: pa.Table.from_pandas(f).append_column("ok", pa.array([1] * 192)),
            "is_fraud",
        ),
        "labels: expected 192, one a row, got 3": (lambda f: f, [1, 2, 3]),
        "column 'ok': it is the label, and also one of the model's columns": (lambda f: f, "ok"),
        "column 'y', row 0: expected numbers, booleans, texts, times or lists of these, got a struct": (
            lambda f: f,
            [{"a": 1}] * 192,
        ),
        "label: expected a string or a finite number": (lambda f: f, [[1]] * 192),
        "expected a pandas, polars or Arrow table": (lambda f: 3, None),
        "collect() it first": (lambda f: pl.from_pandas(f).lazy(), None),
    }
    for text, (change, labels) in cases.items():
        assert text in bad(change, labels)


def test_settings_are_checked_and_nearest_names_told() -> None:
    with pytest.raises(ConfigurationError, match="did you mean expansion"):
        thalweg.Model("ridge", columns=COLUMNS, expansio=3)
    with pytest.raises(ConfigurationError, match="rigde"):
        thalweg.Model("rigde")
    with pytest.raises(ConfigurationError, match="numerc"):
        thalweg.Model("ridge", columns={"a": "numerc"})
    with pytest.raises(thalweg.FrameError, match="no columns yet"):
        thalweg.Model("ridge").predict(table())
    with pytest.raises(thalweg.FrameError, match="got an empty table"):
        thalweg.Model("ridge").learn(table()[:0], "is_fraud")
    with pytest.raises(thalweg.FrameError, match="row 1: expected finite numbers"):
        thalweg.Model("ridge").learn(np.array([[1.0], [np.nan]]), [0, 1])
    with pytest.raises(thalweg.FrameError, match=r"expected float32 \(N, 3\), got float64 \(2, 2\)"):
        thalweg.Model("ridge", inputs={"x": 3}).learn(np.zeros((2, 2)), [0, 1])


def test_importing_the_package_loads_next_to_nothing() -> None:
    code = (
        "import sys, thalweg; thalweg.__version__; "
        "assert not {'numpy', 'torch', 'pydantic', 'narwhals'} & set(sys.modules); "
        "assert thalweg.Model.__name__ == 'Model'; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_target_of_numbers_is_a_regression_and_classes_stay_classes() -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.normal(size=300)})
    a = frame["a"].to_numpy()

    inferred = thalweg.Model("ridge").learn(frame, 2.0 * a)
    assert inferred.task.name == "regression"
    assert inferred.predict(frame[:3]).ravel() == pytest.approx(2.0 * a[:3], abs=0.2)
    assert thalweg.Model("ridge").learn(frame, a > 0).task.name == "classification"
    assert thalweg.Model("ridge", task="classification").learn(frame, a.round(1)).task.name == "classification"


def test_numbers_for_a_model_of_given_columns_are_refused_with_what_to_say() -> None:
    a = np.linspace(0.0, 1.0, 300)
    frame = pd.DataFrame({"a": a})
    model = thalweg.Model("ridge", columns={"a": "numeric"})

    with pytest.raises(thalweg.FrameError, match='task="regression"'):
        model.learn(frame, a / 3)
    model.learn(frame, (a > 0.5).astype(float))
    assert model.classes == ("0", "1")
    assert thalweg.Model("ridge", columns={"a": "numeric"}, task="regression").learn(frame, a).learned == 300


def test_weights_are_a_parameter_of_a_learner_that_has_such_and_else_those_of_an_encoder(tmp_path: Path) -> None:
    weights = str(tmp_path / "w.safetensors")
    save_file({name: value + 0.5 for name, value in layered().state_dict().items()}, weights)

    def made(**settings: Any) -> str:
        network = "tests.models.small_networks:layered"
        return thalweg.Model("cotta", inputs={"x": 12}, model=network, **settings).state_sha256()

    assert made(weights=weights) == made(params={"weights": weights})
    assert made(weights=weights) != made()
    with pytest.raises(ConfigurationError, match="expected an encoder that takes weights"):
        thalweg.Model("ridge", inputs={"x": 2}, weights=weights)
