"""Costs are measured with the real processor of every kind of model, and nothing of the model's own is touched."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from thalweg.ops.config.config import Config, load
from thalweg.ops.run.app import event_schema, new_learner
from thalweg.ops.run.failed import Failed
from thalweg.ops.scale.core_time import core_seconds
from thalweg.ops.scale.made_up import made_up
from thalweg.ops.scale.measure import measure
from thalweg.proto.decode import Decoder
from thalweg.proto.records import Partition, Records

MODELS = {
    "columns": """
learner = "ridge"
fields = { label = "is.fraud", id = "payment.id", key = "", time = "", weight = "" }
classes = ["no", "yes"]
[model.columns]
amount = { kind = "numeric", field = "order.total" }
country = "categorical"
known = { kind = "categorical", categories = ["a", "b"] }
sku = { kind = "hashed", field = "items[0].sku" }
note = "text"
since = { kind = "datetime", unit = "ms" }
day = { kind = "datetime", format = "%d.%m.%Y" }
vip = "boolean"
last = { kind = "list", length = 3 }
tags = "list"
[model.scale]
answers = "key"
""",
    "columns in our own form": """
learner = "nearest_mean"
[model.columns]
amount = "numeric"
""",
    "tensors": """
learner = "nearest_mean"
inputs = { features = { shape = [8] } }
""",
    "regression": """
learner = "ridge"
inputs = { features = { shape = [8] } }
params = { task = "regression", targets = 2 }
""",
    "ratings": """
learner = "error_memory"
inputs = { user = { shape = [], dtype = "int64" }, item = { shape = [], dtype = "int64" } }
""",
    "sequences": """
learner = "prompt_tpp"
inputs = { key = { shape = [], dtype = "bytes" } }
params = { max_types = 12 }
""",
}


def configuration(folder: Path, model: str) -> Config:
    path = folder / "thalweg.toml"
    state, log = folder / "own" / "state", folder / "log.db"
    path.write_text(
        f'[service]\nstate_dir = "{state}"\n[log]\nurl = "sqlite:{log}"\n[[model]]\nname = "m"\ntopic = "t"\n{model}'
    )
    return load(path, {})


@pytest.mark.parametrize("kind", MODELS)
def test_made_up_records_are_events_of_the_model_labelled_and_each_with_an_id(kind: str, tmp_path: Path) -> None:
    (model,) = configuration(tmp_path, MODELS[kind]).model
    schema, now = event_schema(model, new_learner(model)), time.time()

    records = made_up(schema, 50, seed=3, now=now)

    run = Records(Partition("t", 0), range(50), [now] * 50, [None] * 50, records, [()] * 50)
    decoded = Decoder(schema, max_future_seconds=60.0).decode(run)
    assert decoded.rejected == []
    assert decoded.batch.labels is not None
    assert decoded.batch.labels.present.all()
    assert len(set(decoded.batch.ids or ())) == 50
    times = decoded.batch.times
    assert (np.diff(times) > 0).all() if kind != "columns" else (times == now).all()  # they have no time of their own
    assert records == made_up(schema, 50, seed=3, now=now)
    for name, column in schema.columns.items():
        array = decoded.batch.inputs[name]
        assert not (np.isnan(array).any() if column.dtype == "float64" else (array == b"").any()), name


@pytest.mark.parametrize("kind", MODELS)
def test_every_kind_of_model_is_measured_and_nothing_is_left(kind: str, tmp_path: Path) -> None:
    config = configuration(tmp_path, MODELS[kind])

    costs = measure(config, config.model[0], 0.3)

    assert costs.events > 0
    assert costs.seconds_per_event > 0
    parts = (costs.decode_seconds, costs.predict_seconds, costs.grade_seconds, costs.learn_seconds)
    assert all(part > 0 for part in parts)
    assert costs.other_seconds >= 0
    assert costs.state_bytes > 0
    assert costs.snapshot_bytes > 0
    assert costs.version_bytes > 0
    assert costs.process_bytes > 1 << 20
    assert costs.scaled == ("[model.scale]" in MODELS[kind])
    assert (costs.merge_seconds is not None) == (costs.learner in ("nearest_mean", "error_memory"))
    assert {path.name for path in tmp_path.iterdir()} == {"thalweg.toml"}


def test_a_model_that_cannot_learn_made_up_events_is_named(tmp_path: Path) -> None:
    (tmp_path / "refusing_estimator.py").write_text(
        "from river import linear_model\n"
        "class Refusing(linear_model.LogisticRegression):\n"
        "    def learn_one(self, x, y):\n"
        "        raise RuntimeError('not today')\n"
    )
    model = 'learner = "river:refusing_estimator.Refusing"\ninputs = { x = { shape = [2] } }\n'
    config = configuration(tmp_path, model)

    with pytest.raises(Failed, match=r"model 'm': made-up events cannot be learned: .*not today"):
        measure(config, config.model[0], 0.3)


def test_waiting_for_a_lock_counts_and_waiting_for_a_core_does_not() -> None:
    began = core_seconds()
    time.sleep(0.05)
    slept = core_seconds() - began

    assert slept > 0.04
    assert core_seconds() >= began
