"""`tritonclient.grpc`, as it comes, against a running server; in a process of its own, as its stubs clash with ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.ops.serve.serving import served

CLIENT = """
import json, sys
import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

client = triton.InferenceServerClient(sys.argv[1])
seen = {"live": client.is_server_live(), "ready": client.is_model_ready("m")}
metadata = client.get_model_metadata("m", as_json=True)
seen["inputs"] = metadata["inputs"]
seen["index"] = [m["name"] for m in client.get_model_repository_index(as_json=True)["models"]]
config = client.get_model_config("m", as_json=True)["config"]
seen["config"] = [config["max_batch_size"], config["input"][0]["data_type"], config["input"][0]["dims"]]
seen["server"] = client.get_server_metadata(as_json=True)["name"]

def ask(features, **more):
    tensor = triton.InferInput("features", list(features.shape), "FP32")
    tensor.set_data_from_numpy(features)
    return client.infer("m", [tensor], **more)

features = np.eye(4, dtype=np.float32)[:3]
answer = ask(features, request_id="7", parameters={"min_state_version": 1})
seen["labels"] = [name.decode() for name in answer.as_numpy("label")]
seen["scores"] = list(answer.as_numpy("scores").shape)
seen["version"] = answer.get_response().parameters["state_version"].int64_param
seen["id"] = answer.get_response().id
only = ask(features, outputs=[triton.InferRequestedOutput("label")])
seen["only"] = only.as_numpy("scores") is None

typed = triton.service_pb2.ModelInferRequest(model_name="m")
tensor = typed.inputs.add(name="features", datatype="FP32", shape=[3, 4])
tensor.contents.fp32_contents.extend(features.reshape(-1).tolist())
result = triton.InferResult(client._client_stub.ModelInfer(typed))
seen["typed"] = [name.decode() for name in result.as_numpy("label").tolist()]

try:
    ask(np.zeros((1, 3), np.float32))
except InferenceServerException as error:
    seen["refused"] = error.status()

answers = []
client.start_stream(lambda result, error: answers.append((result, error)))
for number in range(3):
    tensor = triton.InferInput("features", [1, 4], "FP32")
    tensor.set_data_from_numpy(features[number : number + 1])
    client.async_stream_infer("m", [tensor])
client.stop_stream()
statistics = client.get_inference_statistics("m", as_json=True)["model_stats"][0]
seen["statistics"] = [statistics["inference_count"], statistics["inference_stats"]["success"]["count"]]
seen["failed"] = statistics["inference_stats"]["fail"]["count"]
seen["streamed"] = [result.as_numpy("label")[0].decode() for result, error in answers]
client.close()
print(json.dumps(seen))
"""


def test_tritonclient_works_unmodified(tmp_path: Path) -> None:
    with served(tmp_path) as parts:
        done = subprocess.run(
            [sys.executable, "-c", CLIENT, f"127.0.0.1:{parts.server.grpc_port}"],
            capture_output=True,
            text=True,
            timeout=120,
        )

    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen == {
        "live": True,
        "ready": True,
        "inputs": [{"name": "features", "datatype": "FP32", "shape": ["-1", "4"]}],
        "index": ["m", "empty"],
        "server": "thalweg",
        "config": [1024, "TYPE_FP32", ["4"]],
        "statistics": ["12", "6"],
        "failed": "1",
        "labels": ["left", "right", "süd"],
        "scores": [3, 3],
        "version": 1,
        "id": "7",
        "only": True,
        "typed": ["left", "right", "süd"],
        "refused": "StatusCode.INVALID_ARGUMENT",
        "streamed": ["left", "right", "süd"],
    }
