"""Every built-in learner over REST: its events are rows, its answers are what the OpenAPI document describes."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from tests.ops.serve.serving import RunningServer, Taught, served
from tests.samples import sample
from thalweg.models.contract.registry import BUILT_IN
from thalweg.ops.config.config import parse
from thalweg.ops.run.app import new_learner
from thalweg.ops.run.serving import location_of
from thalweg.proto.encode import to_json

HEAD = '[[model]]\nname = "m"\ntopic = "m.events"\n'


def taught(name: str, folder: Path, more: str = "") -> Taught:
    """The learner of this name as the tests of the service run it, with further parameters."""
    chosen = sample(name)
    config = parse(tomllib.loads(HEAD + chosen.configuration + more), name, {})
    (model,) = config.model
    location = location_of(config, model, folder)
    return Taught(lambda: new_learner(model), location.build, lambda count, seed: chosen.events(count), location.schema)


def post(service: RunningServer, body: Any) -> httpx.Response:
    return httpx.post(f"http://127.0.0.1:{service.server.http_port}/v1/models/m/predict", content=body, timeout=60)


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_the_events_of_a_learner_are_rows_and_its_answers_are_as_described(tmp_path: Path, name: str) -> None:
    with served(tmp_path, model=taught(name, tmp_path)) as parts:
        records = to_json(sample(name).events(5))
        one, many = post(parts, records[0]), post(parts, b"[" + b",".join(records) + b"]")
        document = httpx.get(f"http://127.0.0.1:{parts.server.http_port}/openapi.json", timeout=60).json()

    assert (one.status_code, many.status_code, len(many.json())) == (200, 200, 5), one.text
    assert [row["id"] for row in many.json()] == [json.loads(record)["id"] for record in records]
    schemas = document["components"]["schemas"]
    jsonschema.validate([json.loads(record) for record in records], {"type": "array", "items": schemas["m.Event"]})
    jsonschema.validate(many.json(), {"type": "array", "items": schemas["m.Answer"]})
    for row in many.json():
        assert row.keys() <= schemas["m.Answer"]["properties"].keys()
        assert row.keys() & {"label", "value", "score", "next_time", "reason"}


def test_a_history_in_a_row_is_answered_as_that_of_a_key(tmp_path: Path) -> None:
    with served(tmp_path, model=taught("prompt_tpp", tmp_path)) as parts:
        rows = [
            {"times": [1e9, 1e9 + 1, 1e9 + 3], "types": [0, 1.0, 2]},
            {"times": [1e9, 1e9 + 1, 1e9 + 2], "types": [2, 1, 0]},
        ]
        answer, unknown = post(parts, json.dumps(rows)), post(parts, json.dumps({"key": "nobody"}))
        uneven = post(parts, json.dumps([rows[0], {"times": [1e9], "types": [0]}]))
        document = httpx.get(f"http://127.0.0.1:{parts.server.http_port}/openapi.json", timeout=60).json()

    assert [row["next_type"] in "abc" and row["next_time"] > 1e9 for row in answer.json()] == [True, True]
    assert answer.json()[0]["probabilities"].keys() == set("abc")
    assert unknown.json().keys() >= {"reason", "next_time", "version"}
    assert unknown.json()["next_time"] is None
    assert "next_type" not in unknown.json()
    assert (uneven.status_code, "rows of one length" in uneven.json()["error"]) == (400, True), uneven.text
    for row in rows:
        jsonschema.validate(row, document["components"]["schemas"]["m.Row"])


def test_the_next_events_are_tensors_and_lists_where_a_model_predicts_ahead(tmp_path: Path) -> None:
    with served(tmp_path, model=taught("prompt_tpp", tmp_path, "ahead = 3\n")) as parts:
        base = f"http://127.0.0.1:{parts.server.http_port}"
        history = [
            {"name": "times", "datatype": "FP64", "shape": [1, 3], "data": [1e9, 1e9 + 1, 1e9 + 3]},
            {"name": "types", "datatype": "INT64", "shape": [1, 3], "data": [0, 1, 2]},
        ]
        whole = httpx.post(f"{base}/v2/models/m/infer", json={"inputs": history}, timeout=60).json()["outputs"]
        named = {"inputs": history, "outputs": [{"name": "next_times"}]}
        only = httpx.post(f"{base}/v2/models/m/infer", json=named, timeout=60).json()["outputs"]
        row = post(parts, json.dumps({"times": [1e9, 1e9 + 1, 1e9 + 3], "types": [0, 1, 2]})).json()
        document = httpx.get(f"{base}/openapi.json", timeout=60).json()

    found = {one["name"]: one for one in whole}
    assert (found["next_times"]["datatype"], found["next_times"]["shape"]) == ("FP64", [1, 3])
    assert (found["next_types"]["datatype"], found["next_types"]["shape"]) == ("INT64", [1, 3])
    assert found["next_times"]["data"][0] == found["next_time"]["data"][0]
    assert found["next_times"]["data"] == sorted(found["next_times"]["data"])
    assert [one["name"] for one in only] == ["next_times"]
    assert row["next_times"] == found["next_times"]["data"]
    assert len(row["next_types"]) == 3
    jsonschema.validate(row, document["components"]["schemas"]["m.Answer"])


def test_ids_in_rows_may_be_texts_or_numbers(tmp_path: Path) -> None:
    with served(tmp_path, model=taught("error_memory", tmp_path)) as parts:
        number, text, uuid = (
            post(parts, json.dumps({"user": user, "item": 3}))
            for user in (7, "7", "0d5e3c0a-4d2e-4a55-9a52-5f2c4ad1f3b7")
        )
        neither = post(parts, json.dumps([{"user": 7, "item": 3}, {"user": [7], "item": 3}]))
        wrong = post(parts, json.dumps([{"user": 7, "item": 3}, {"user": 1.5, "item": 3}]))

    assert number.json()["score"] == text.json()["score"]
    assert uuid.status_code == 200, uuid.text
    assert (neither.status_code, neither.json()["error"].startswith("row 1: input 'user': ")) == (400, True)
    assert wrong.json()["error"].startswith("row 1: input 'user': expected an integer or a text"), wrong.text


def test_an_option_may_say_the_key_that_is_an_input(tmp_path: Path) -> None:
    with served(tmp_path, model=taught("prompt_tpp", tmp_path)) as parts:
        url = f"http://127.0.0.1:{parts.server.http_port}/v1/models/m/predict"
        key = json.loads(to_json(sample("prompt_tpp").events(5))[0])["inputs"]["key"]
        named = httpx.post(url, json={"key": key}, timeout=60).json()
        by_option = httpx.post(url, params={"key": key}, json={}, timeout=60).json()
        own_first = httpx.post(url, params={"key": "nobody"}, json=[{"key": key}, {}], timeout=60).json()
        of_history = httpx.post(url, params={"key": key}, json={"times": [1e9], "types": [0]}, timeout=60)

    assert named["next_time"] is not None
    assert by_option["next_time"] == named["next_time"]
    assert [row["next_time"] for row in own_first] == [named["next_time"], None]
    assert of_history.status_code == 200
