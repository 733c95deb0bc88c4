"""A sample of clicks: what `init` says of users and items, tried as it stands there."""

from __future__ import annotations

import csv
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.ops.replay.test_rows import clicks
from thalweg.ops.config.config import parse
from thalweg.ops.init.guess import guess
from thalweg.ops.init.sample import Sample, file_sample
from thalweg.ops.init.write import configuration
from thalweg.ops.replay.replay import replay


def written(sample: Sample, label: str) -> str:
    return configuration(
        guess(sample, label),
        name="m",
        topic="m.events",
        log_url="memory:",
        origin="clicks.csv",
        rows=len(sample.rows),
        own_form=sample.own_form,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rows = [{**row, "returned": row["clicked"]} for row in clicks(200)]
    for row in rows:
        del row["clicked"]
    with (tmp_path / "clicks.csv").open("w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path / "clicks.csv"


@pytest.mark.parametrize(
    ("learner", "label", "replaced"),
    [("error_memory", "returned", {"user_id", "sku"}), ("prompt_tpp", "action", None)],
)
def test_what_init_says_of_ids_is_accepted_and_learns_from_the_file_that_it_saw(
    file: Path, learner: str, label: str, replaced: set[str] | None
) -> None:
    text = written(file_sample(file, 500), label)
    model: dict[str, Any] = tomllib.loads(text)["model"][0]
    _, _, after = text.partition(f'# learner = "{learner}"\n')
    told = tomllib.loads("\n".join(re.findall(r"^# (\w+ = .*)$", after.partition("\n\n")[0], re.M)))

    kept = {} if replaced is None else {n: one for n, one in model["columns"].items() if n not in replaced}
    changed = {**model, "learner": learner, "columns": {**kept, **told}}
    done = replay(parse({"model": [changed]}, "x.toml", {}).model[0], file)

    assert told["user" if learner == "error_memory" else "key"] == {"kind": "hashed", "field": "user_id"}
    assert (done.events, done.labelled, done.unusable) == (200, 200, 0)


def two_names(folder: Path, zero: str, one: str, *, price: bool, label: str = "clicked") -> Path:
    """200 clicks of users on items, every fifth with the label `one`."""
    names = ["user_id", "item_id", *(["price"] if price else []), label]
    rows = [
        [f"u{7 * n % 9}", f"i{n % 11}", *([0.5 + n % 13] if price else []), zero if n % 5 else one] for n in range(200)
    ]
    with (folder / "clicks.csv").open("w", newline="") as opened:
        csv.writer(opened).writerows([names, *rows])
    return folder / "clicks.csv"


NAMES = [("no", "yes"), ("N", "Y"), ("view", "click"), ("1", "2"), ("-1", "1")]


@pytest.mark.parametrize("price", [False, True])
@pytest.mark.parametrize(("zero", "one"), NAMES)
def test_two_names_of_labels_of_users_and_items_are_0_and_1(tmp_path: Path, zero: str, one: str, price: bool) -> None:
    file = two_names(tmp_path, zero, one, price=price)

    model = parse(tomllib.loads(written(file_sample(file, 500), "clicked")), "x.toml", {}).model[0]
    done = replay(model, file)

    assert (model.learner, model.classes) == ("error_memory", [zero, one])
    assert list(model.columns) == ["user", "item", *(["price"] if price else [])]
    assert (done.labelled, done.unusable) == (200, 0)
    assert done.controls["majority"]["accuracy"] == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(("zero", "one"), NAMES)
def test_the_advised_recommender_learns_two_names_as_0_and_1(tmp_path: Path, zero: str, one: str) -> None:
    file = two_names(tmp_path, zero, one, price=True, label="returned")
    text = written(file_sample(file, 500), "returned")
    model: dict[str, Any] = tomllib.loads(text)["model"][0]
    told = tomllib.loads("\n".join(re.findall(r"^# (\w+ = .*)$", text.partition("and of these two columns:")[2], re.M)))

    model |= {"learner": told.pop("learner"), "classes": told.pop("classes")}
    model["columns"] = {"price": "numeric", **told}
    done = replay(parse({"model": [model]}, "x.toml", {}).model[0], file)

    assert model["classes"] == [zero, one]
    assert (done.labelled, done.unusable) == (200, 0)


def test_of_no_and_yes_it_is_known_which_is_1_though_most_are(tmp_path: Path) -> None:
    file = two_names(tmp_path, "Yes", "No", price=False)

    assert 'classes = ["No", "Yes"]' in written(file_sample(file, 500), "clicked")


@pytest.mark.parametrize(("zero", "one"), [("0", "1"), ("false", "true"), ("0.0", "1.0")])
def test_labels_that_a_recommender_takes_as_they_are_need_no_names(tmp_path: Path, zero: str, one: str) -> None:
    file = two_names(tmp_path, zero, one, price=True)

    assert "classes =" not in written(file_sample(file, 500), "clicked")


def visits(folder: Path, key: str) -> Path:
    lines = [f"{key},time,type"]
    lines += [
        f"{7 * n % 5 if key == 'machine_id' else 'k' + str(7 * n % 5)},{1.7e9 + 60.5 * n},{'abc'[n % 3]}"
        for n in range(200)
    ]
    (folder / "visits.csv").write_text("\n".join(lines))
    return folder / "visits.csv"


@pytest.mark.parametrize("key", ["key", "user", "machine_id"])
def test_keys_times_and_types_alone_are_events_of_a_point_process(tmp_path: Path, key: str) -> None:
    file = visits(tmp_path, key)
    text = written(file_sample(file, 500), "type")
    table = tomllib.loads(text)

    model = parse(table, "x.toml", {}).model[0]
    done = replay(model, file)

    assert (model.learner, model.columns["key"].field) == ("prompt_tpp", key)
    assert (done.events, done.labelled, done.unusable) == (200, 200, 0)


def test_what_init_says_of_them_as_columns_is_accepted_too(tmp_path: Path) -> None:
    file = visits(tmp_path, "key")
    text = written(file_sample(file, 500), "type")
    table = tomllib.loads(re.sub(r"^(learner|key) = .*\n", "", text, flags=re.M).replace("# learner =", "learner ="))
    said = tomllib.loads("\n".join(re.findall(r"^# (\w+ = .*)$", text.partition("# learner =")[2], re.M)))
    table["model"][0]["learner"] = table["model"][0]["columns"].pop("learner")
    table["model"][0]["columns"] = said

    done = replay(parse(table, "x.toml", {}).model[0], file)

    assert (done.model.learner, set(said), done.labelled) == ("ridge", {"key", "time"}, 200)


@pytest.mark.parametrize("more", [{"country": "DE"}, {"key": 1, "amount": 2.5}])
def test_other_columns_than_a_key_make_no_point_process(more: dict[str, Any]) -> None:
    rows = [{**more, "time": 1.7e9 + 61 * n, "type": "ab"[n % 2]} for n in range(50)]

    assert 'learner = "ridge"' in written(Sample(rows, list(rows[0])), "type")


def test_of_a_sample_without_users_nothing_is_said_of_ids() -> None:
    names = ["amount", "country", "at", "late"]
    rows = [dict(zip(names, (number, "DE", "2026-03-01T00:00:00Z", number % 2))) for number in range(9)]

    assert "error_memory" not in written(Sample(rows, names), "late")


def test_what_stands_beside_the_learner_and_the_micro_batches_is_true_of_it(file: Path, tmp_path: Path) -> None:
    (of_clicks,) = re.findall(r"^learner = .*$", written(file_sample(file, 500), "returned"), re.M)
    of_keys = written(file_sample(visits(tmp_path, "key"), 500), "type")

    assert of_clicks.index('"ridge"') < of_clicks.index("error_memory")
    assert "one by one" in written(file_sample(file, 500), "returned")
    assert "one by one" not in of_keys
    assert "always 64 events at once" in of_keys


def test_a_constant_column_is_always_that_and_no_codes() -> None:
    rows = [{"one": 1, "two": n % 2 + 1, "late": n % 3 == 0} for n in range(30)]
    text = written(Sample(rows, list(rows[0])), "late")

    (one,) = re.findall(r"^one = .*$", text, re.M)
    assert one.endswith("# always 1")
    assert "2 different whole numbers" in text
