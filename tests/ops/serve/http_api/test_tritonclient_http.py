"""`tritonclient.http`, as it comes and with its defaults, against a running server; in a process of its own, because
gevent changes the process that imports it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.ops.serve.serving import served

CLIENT = """
import json, sys
import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

client = triton.InferenceServerClient(sys.argv[1])
seen = {"live": client.is_server_live(), "ready": client.is_model_ready("m")}
seen["version"] = client.is_model_ready("m", "1")
seen["inputs"] = client.get_model_metadata("m")["inputs"]
seen["extensions"] = client.get_server_metadata()["extensions"]
seen["index"] = [model["name"] for model in client.get_model_repository_index()]
seen["batch"] = client.get_model_config("m")["max_batch_size"]

def ask(features, binary=True, **more):
    tensor = triton.InferInput("features", list(features.shape), "FP32")
    tensor.set_data_from_numpy(features, binary_data=binary)
    return client.infer("m", [tensor], **more)

features = np.eye(4, dtype=np.float32)[:3]
answer = ask(features, request_id="7", parameters={"min_state_version": 1})
seen["labels"] = [name.decode() for name in answer.as_numpy("label")]
seen["scores"] = [str(answer.as_numpy("scores").dtype), list(answer.as_numpy("scores").shape)]
seen["raw"] = "data" not in answer.get_output("scores")
seen["id"] = answer.get_response()["id"]
plain = ask(features, binary=False, outputs=[triton.InferRequestedOutput("label", binary_data=False)])
seen["plain"] = plain.as_numpy("label").tolist()
wanted = [triton.InferRequestedOutput("label", binary_data=False), triton.InferRequestedOutput("scores")]
mixed = ask(features, outputs=wanted)
seen["mixed"] = [list(mixed.get_output("label")), bool((mixed.as_numpy("scores") == answer.as_numpy("scores")).all())]
for way in ("gzip", "deflate"):
    packed = ask(features, request_compression_algorithm=way, response_compression_algorithm=way)
    seen[way] = bool((packed.as_numpy("scores") == answer.as_numpy("scores")).all())
seen["by_version"] = ask(features, model_version="1").get_response()["model_version"]
seen["none"] = list(ask(features[:0]).as_numpy("scores").shape)
tensor = triton.InferInput("features", [1, 4], "FP32")
tensor.set_data_from_numpy(features[:1])
seen["async"] = client.async_infer("m", [tensor]).get_result().as_numpy("label")[0].decode()
statistics = client.get_inference_statistics("m")["model_stats"][0]
seen["counted"] = statistics["inference_count"]
try:
    ask(np.zeros((1, 3), np.float32))
except InferenceServerException as error:
    seen["refused"] = [error.status(), "expected shape (N, 4)" in error.message()]
client.close()
print(json.dumps(seen))
"""


def test_tritonclient_works_unmodified_over_http(tmp_path: Path) -> None:
    with served(tmp_path) as parts:
        done = subprocess.run(
            [sys.executable, "-c", CLIENT, f"127.0.0.1:{parts.server.http_port}"],
            capture_output=True,
            text=True,
            timeout=120,
        )

    assert done.returncode == 0, done.stderr
    labels = ["left", "right", "süd"]
    assert json.loads(done.stdout) == {
        "live": True,
        "ready": True,
        "version": True,
        "inputs": [{"name": "features", "datatype": "FP32", "shape": [-1, 4]}],
        "extensions": ["binary_tensor_data", "model_configuration", "model_repository", "statistics"],
        "index": ["m", "empty"],
        "batch": 1024,
        "labels": labels,
        "scores": ["float32", [3, 3]],
        "raw": True,
        "id": "7",
        "plain": labels,
        "mixed": [["name", "datatype", "shape", "data"], True],
        "gzip": True,
        "deflate": True,
        "by_version": "1",
        "none": [0, 3],
        "async": "left",
        "counted": 19,
        "refused": ["400", True],
    }
