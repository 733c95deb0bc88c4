"""Event sequences, end to end: what a key does next, asked by its key or by a history, over gRPC and REST."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from tests.ops.running import Service, service, until
from tests.services.processes import PATIENCE, stop
from thalweg.ops.config.config import parse
from thalweg.ops.replay.replay import replay
from thalweg.ops.replay.report import write_report
from thalweg.proto import inference_pb2 as pb
from thalweg.proto import inference_pb2_grpc

pytestmark = pytest.mark.slow

TYPES = {"next_time": np.float64, "next_type": np.int64, "type_scores": np.float32}


class Asker:
    def __init__(self, running: Service) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{running.ports['grpc']}")
        self.stub = inference_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def keys(self, *keys: bytes, **parameters: int) -> pb.ModelInferResponse:
        request = pb.ModelInferRequest(model_name="m")
        request.inputs.add(name="key", datatype="BYTES", shape=[len(keys)])
        request.raw_input_contents.append(b"".join(len(key).to_bytes(4, "little") + key for key in keys))
        for name, value in parameters.items():
            request.parameters[name].int64_param = value
        return self.stub.ModelInfer(request, timeout=PATIENCE, wait_for_ready=True)

    def history(self, times: Any, types: Any) -> pb.ModelInferResponse:
        request = pb.ModelInferRequest(model_name="m")
        for name, kind, values in (("times", "FP64", np.float64(times)), ("types", "INT64", np.int64(types))):
            request.inputs.add(name=name, datatype=kind, shape=values.shape)
            request.raw_input_contents.append(values.tobytes())
        return self.stub.ModelInfer(request, timeout=PATIENCE, wait_for_ready=True)


def outputs(response: pb.ModelInferResponse) -> dict[str, Any]:
    return {
        one.name: np.frombuffer(raw, TYPES[one.name]).reshape(one.shape)
        for one, raw in zip(response.outputs, response.raw_output_contents)
    }


def test_what_a_key_does_next_is_told_by_its_key_or_by_a_history(tmp_path: Path) -> None:
    with service(tmp_path, learner="prompt_tpp") as running:
        running.send(600)
        supervisor = running.start()
        until("everything to be learned", lambda: running.metric("thalweg_learned_events", model_name="m") == 600)
        asker = Asker(running)

        everyone = outputs(asker.keys(*(f"k{number}".encode() for number in range(15))))
        known = f"k{np.flatnonzero(np.isfinite(everyone['next_time']))[-1]}"  # of 15 keys the model has room for 12
        told = outputs(asker.keys(known.encode(), b"nobody", b"x" * 1024, b""))
        history = outputs(asker.history([[1e9, 1e9 + 16.0, 1e9 + 33.0]], [[0, 1, 2]]))
        explained = json.loads(asker.keys(known.encode(), explain=2).parameters["explanation"].string_param)
        metadata = asker.stub.ModelMetadata(pb.ModelMetadataRequest(name="m"), timeout=PATIENCE)
        with httpx.Client(base_url=f"http://127.0.0.1:{running.ports['http']}/v2/models/m") as client:
            by_key = {"inputs": [{"name": "key", "datatype": "BYTES", "shape": [2], "data": [known, "nobody"]}]}
            times = {"name": "times", "datatype": "FP64", "shape": [1, 3], "data": [1e9, 1e9 + 16.0, 1e9 + 33.0]}
            types = {"name": "types", "datatype": "INT64", "shape": [1, 3], "data": [0, 1, 2]}
            rest = client.post("/infer", json=by_key).json()["outputs"]
            rest_history = client.post("/infer", json={"inputs": [times, types]}).json()["outputs"]

        assert np.isfinite(everyone["next_time"]).sum() == 12
        assert told["next_time"][0] > 1e9
        assert np.isnan(told["next_time"][1:]).all()
        assert told["next_type"].tolist()[1:] == [-1, -1, -1]
        np.testing.assert_allclose(told["type_scores"].sum(axis=1), [1, 0, 0, 0], atol=1e-5)
        assert history["next_time"][0] > 1e9 + 33.0
        np.testing.assert_allclose(history["type_scores"].sum(), 1.0, rtol=1e-5)
        assert [one.get("quantile") for one in explained[0]][:3] == [0.1, 0.5, 0.9]
        assert len(explained[0][3]["prompts"]) == 2
        assert sorted(json.loads(metadata.properties["classes"])) == ["a", "b", "c"]
        assert set(json.loads(metadata.properties["other_inputs"])) == {"times", "types"}
        assert float(metadata.properties["time_unit_seconds"]) > 0
        rest_told = {one["name"]: one["data"] for one in rest}
        assert rest_told["next_time"] == [pytest.approx(told["next_time"][0]), None]
        assert rest_history[0]["data"][0] == pytest.approx(history["next_time"][0])
        for times_given, types_given, detail in (
            ([[2.0, 1.0]], [[0, 1]], "expected finite times in ascending order"),
            ([[1.0, np.nan]], [[0, 1]], "expected finite numbers"),
            ([[1.0, 2.0]], [[0, 99]], "indices into `classes`"),
            ([[]], [[]], "L 1 or more"),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                asker.history(times_given, types_given)
            assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
            assert detail in caught.value.details()  # type: ignore[attr-defined]
        for metric in ("log_likelihood", "top3_accuracy", "gap_rmse", "log_gap_mae", "rescaling_ks"):
            labels = {"model_name": "m", "metric": metric, "window": "recent"}
            until(f"{metric} to be told", lambda: running.metric("thalweg_prequential", **labels) is not None)  # noqa: B023
        asker.close()
        assert stop(supervisor) == 0, running.text()


def test_a_file_of_sequences_is_replayed_graded_and_drawn(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    lines = []
    for number in range(40):
        kinds = (number + np.arange(30)) % 3
        times = np.where(kinds == 0, 5.0, 1.0) * generator.uniform(0.9, 1.1, 30)
        lines.append(json.dumps({"key": f"s{number}", "t": [0.0, *times.cumsum()[:-1].tolist()], "k": kinds.tolist()}))
    (tmp_path / "s.jsonl").write_text("\n".join(lines))
    table = {"name": "m", "learner": "prompt_tpp", "topic": "t", "batch_events": 16, "window_events": 300}
    inputs = {"key": {"shape": [], "dtype": "bytes"}}
    params = {"width": 8, "time_width": 4, "window": 12, "unit_gaps": 20, "train_batch": 16, "learning_rate": 0.02}
    model = parse({"model": [{**table, "inputs": inputs, "params": params}]}, "f", {}).model[0]

    done = replay(model, tmp_path / "s.jsonl")
    written = write_report(done, tmp_path / "report")

    record = json.loads(written[0].read_text())
    assert record["events"] == 1200
    assert record["recent"]["accuracy"] > 0.9
    assert record["recent"]["log_likelihood"] > record["curve"][len(record["curve"]) // 10]["metrics"]["log_likelihood"]
    assert record["recent"]["log_likelihood"] > done.frozen.recent()["log_likelihood"]  # which knows the same past
    assert [path.name for path in written] == ["report.json", "report.png", "intensity.png"]
    assert all(path.stat().st_size > 1000 for path in written)
