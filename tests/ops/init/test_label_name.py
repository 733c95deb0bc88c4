"""Which column `init` takes for the label, and what it says of it; and files that have none of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thalweg.ops.cli import init
from thalweg.ops.config.config import load
from thalweg.ops.init.guess import guess
from thalweg.ops.init.sample import Sample, json_sample
from thalweg.ops.replay.replay import Replayed, replay
from thalweg.ops.run.failed import Failed

MANY = 60


def label(**columns: Any) -> tuple[str, str, str]:
    rows = [{name: made(i) for name, made in columns.items()} for i in range(MANY)]
    found = guess(Sample(rows, list(columns)))
    return found.label, found.task, found.label_doubt


def amount(i: int) -> float:
    return i * 1.37


def two(i: int) -> int:
    return i // 2 % 2


@pytest.mark.parametrize("name", ["label", "Target", "y", "is_fraud", "Is Fraud?", "isFraud", "order.Outcome"])
def test_a_column_that_is_called_a_label_is_it_wherever_it_stands(name: str) -> None:
    assert label(amount=amount, **{name: two}, country=lambda i: ["DE", "FR"][i % 2])[::2] == (name, "")


@pytest.mark.parametrize("name", ["label_1", "target_class", "Survived", "default.payment.next.month", "Sale Price"])
def test_a_name_that_labels_often_have_is_taken_and_told(name: str) -> None:
    found, _, doubt = label(amount=amount, **{name: two}, country=lambda i: ["DE", "FR"][i % 2])

    assert (found, "by its name; --label NAME names another" in doubt) == (name, True)


def test_the_last_column_is_taken_where_nothing_else_says_it_and_that_is_told() -> None:
    found, _, doubt = label(amount=amount, status=two, country=lambda i: ["DE", "FR"][i % 2])

    assert (found, "as it is the last column" in doubt) == ("country", True)


def test_a_number_that_is_known_as_a_label_makes_a_regression() -> None:
    assert label(area=amount, price=amount)[:2] == ("price", "regression")


def test_without_any_what_to_type_is_said() -> None:
    with pytest.raises(Failed, match="name it, --label other for example; there are: amount, other"):
        label(amount=amount, other=amount)
    with pytest.raises(Failed, match=r"one column, 'a b c'; is something else between columns\? --delimiter"):
        label(**{"a b c": amount})


def test_whole_numbers_of_ids_and_codes_are_no_amounts() -> None:
    rows = [{"customer_id": i % 7, "zip": 10_000 + i % 50, "n": i % 7, "y": i % 2} for i in range(400)]
    found = guess(Sample(rows, list(rows[0]))).columns

    assert {name: one.kind for name, one in found.items()} == {
        "customer_id": "categorical",
        "zip": "categorical",
        "n": "numeric",
    }


def test_ids_beyond_every_float_and_codes_with_a_zero_before_them() -> None:
    rows = [{"big": 2**60 + 7 * (i % 50), "phone": f"0{49 + i * 7919}", "y": i % 2} for i in range(100)]
    found = guess(Sample(rows, list(rows[0]))).columns

    assert "beyond 2^53" in found["big"].doubt
    assert (found["phone"].kind, found["phone"].doubt) == ("hashed", "")


def test_what_is_no_number_among_numbers_is_told_aloud() -> None:
    rows = [{"kg": True if i == 3 else i / 7, "on": [True, False, 1, 0][i % 4], "y": i % 2} for i in range(200)]
    found = guess(Sample(rows, list(rows[0]))).columns

    assert (found["kg"].kind, found["on"].kind) == ("numeric", "boolean")
    assert "1 are no numbers, such as true: rows with them are refused" in found["kg"].doubt


def test_infinities_are_taken_for_missing_as_nan_is() -> None:
    lines = [json.dumps({"x": [1.5, float("nan"), float("inf"), 2.5][i % 4], "y": i % 2}).encode() for i in range(100)]

    found = guess(json_sample(lines, 100)).columns["x"]

    assert (found.kind, found.options) == ("numeric", {"missing_values": ["inf"]})


def made(folder: Path, name: str, text: str) -> tuple[Replayed, str]:
    file, config = folder / name, folder / "c.toml"
    file.write_text(text)
    init.run(str(file), log_url=None, label=None, ignore=(), output=config, most=1000)
    return replay(load(config, {}).model[0], file), config.read_text()


def lines_of(head: str, row: Any, count: int = 150) -> str:
    return "\n".join([head, *(",".join(map(str, row(i))) for i in range(count))])


@pytest.mark.parametrize(
    ("head", "row"),
    [
        ("key,time,type", lambda i: (f"m{i % 5}", 1.7e9 + 61 * i, "abc"[i % 3])),
        ("user_id,timestamp,event_type", lambda i: (i % 5, f"2026-01-01T00:{i // 60:02d}:{i % 60:02d}Z", i % 3)),
        ("case_id,activity,start_time", lambda i: (f"c{i // 6}", "abcdef"[i % 6], 1.7e9 + 61 * i)),
        ("key,time,type", lambda i: (i % 5, i / 2, i % 30)),
        ("user,item,ts", lambda i: (f"u{i % 5}", f"i{i % 70}", 1.7e9 + i)),
    ],
)
def test_whose_when_and_what_are_event_sequences(tmp_path: Path, head: str, row: Any) -> None:
    done, text = made(tmp_path, "e.csv", lines_of(head, row))

    assert done.model.learner == "prompt_tpp"
    assert (done.events, done.labelled, done.unusable) == (150, 150, 0)
    assert ("max_types = 128" in text) == ("item" in head)
    assert done.hints == [] or "no room" not in done.hints[0]


@pytest.mark.parametrize(
    "line",
    [
        {"key": "a", "t": [0.0, 1.5, 2.5], "k": [0, 1, 2]},
        {
            "seq_idx": 7,
            "time_since_start": [0.0, 1.5, 2.5],
            "time_since_last_event": [0, 1.5, 1],
            "type_event": [0, 1, 2],
        },
    ],
)
def test_sequences_one_a_line_are_configured_and_replayed(tmp_path: Path, line: dict[str, Any]) -> None:
    name = next(iter(line))
    text = "\n".join(json.dumps({**line, name: f"s{i}"}) for i in range(40))

    done, _ = made(tmp_path, "s.jsonl", text)

    assert (done.model.learner, done.events, done.labelled, done.unusable) == ("prompt_tpp", 120, 120, 0)


def test_users_items_and_clicks_alone_are_for_the_recommender(tmp_path: Path) -> None:
    done, text = made(tmp_path, "c.csv", lines_of("user_id,item_id,clicked", lambda i: (i % 5, i % 7, i % 2)))

    assert (done.model.learner, done.labelled, done.unusable) == ("error_memory", 150, 0)
    assert '# learner = "ridge"' in text


@pytest.mark.parametrize("head", ["userId,movieId,rating", "user,item,stars"])
def test_users_items_and_ratings_are_a_regression_over_ids(tmp_path: Path, head: str) -> None:
    done, _ = made(tmp_path, "r.csv", lines_of(head, lambda i: (i % 5, i % 7, 1 + (i % 5 + i % 7) % 5)))

    assert done.model.params["task"] == "regression"
    assert {one.kind for one in done.model.columns.values()} == {"categorical"}
    assert (done.labelled, done.unusable) == (150, 0)


def test_labels_that_are_lists_are_refused_and_texts_that_are_such_told() -> None:
    with pytest.raises(Failed, match=r'are lists, such as \["red"\]: a row has one class'):
        label(amount=amount, labels=lambda i: [["red", "blue"][i % 2]])

    told = "each list, such as \"['red']\", is a class of its own"
    assert told in label(amount=amount, label=lambda i: f"['{['red', 'blue'][i % 2]}']")[2]


def test_likings_between_0_and_1_are_learned_by_the_recommender_that_init_chooses(tmp_path: Path) -> None:
    rows = lines_of("user,item,liking", lambda i: (f"u{i % 15}", f"i{i % 70}", (i * 7 % 5) / 4))

    done, text = made(tmp_path, "l.csv", rows)

    assert done.model.learner == "error_memory"
    assert "task" not in text
    assert (done.events, done.labelled, done.unusable) == (150, 150, 0)
