"""KServe's manifests: Kubernetes accepts the pod that they describe, and the service what it is given there."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from tests.ops.deploy.test_compose import DOCKERFILE
from thalweg.ops.cli.main import app
from thalweg.ops.config.config import Config, load
from thalweg.ops.serve.access.roles import row_of
from thalweg.ops.serve.http_api.appending import OPTIONS

FOLDER = Path(__file__).parents[3] / "ops" / "kserve"


def documents(name: str) -> dict[str, Any]:
    """The documents of a file, by kind."""
    return {one["kind"]: one for one in yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text())}


RUNTIME = documents("serving-runtime")["ServingRuntime"]
SERVICE = documents("inference-service")
PREDICTOR: dict[str, Any] = SERVICE["InferenceService"]["spec"]["predictor"]
LOGGED: dict[str, Any] = documents("logged-service")["InferenceService"]
(CONTAINER,) = RUNTIME["spec"]["containers"]
ENVIRONMENT = {one["name"]: one["value"] for one in CONTAINER["env"]}


def pod() -> dict[str, Any]:
    """The pod as KServe puts it together: the runtime's container with the mounts and volumes of the service."""
    model = PREDICTOR["model"]
    container = {**CONTAINER, "volumeMounts": CONTAINER["volumeMounts"] + model["volumeMounts"]}
    own = {name: PREDICTOR[name] for name in ("terminationGracePeriodSeconds", "securityContext")}
    spec = {**own, "containers": [container], "volumes": RUNTIME["spec"]["volumes"] + PREDICTOR["volumes"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "fraud"}, "spec": spec}


def configuration(folder: Path) -> Config:
    """What the service makes of the example's configuration and the runtime's variables."""
    path = folder / "thalweg.toml"
    path.write_text(SERVICE["ConfigMap"]["data"]["thalweg.toml"])
    return load(path, ENVIRONMENT)


def test_kubernetes_accepts_the_pod_and_what_stands_beside_it() -> None:
    for one in (pod(), SERVICE["ConfigMap"], SERVICE["PersistentVolumeClaim"]):
        kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
    wrong = pod()
    wrong["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


def test_the_service_listens_where_kserve_looks_for_it(tmp_path: Path) -> None:
    config = configuration(tmp_path)

    http, grpc = CONTAINER["ports"]  # KServe takes the first one for HTTP, and gRPC by its name
    assert config.service.http == f"0.0.0.0:{http['containerPort']}"
    assert config.service.grpc == f"0.0.0.0:{grpc['containerPort']}"
    assert "grpc" in grpc["name"]
    annotations = RUNTIME["spec"]["annotations"]
    assert annotations["prometheus.kserve.io/port"] == str(http["containerPort"])
    assert row_of(f"GET {annotations['prometheus.kserve.io/path']}").role == "read"
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = CONTAINER[name]["httpGet"]
        assert (asked["port"], row_of(f"GET {asked['path'].partition('?')[0]}").role) == (http["containerPort"], None)


def test_the_runtime_speaks_the_protocols_that_it_names_and_the_service_asks_for_one(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    named = RUNTIME["spec"]["protocolVersions"]

    routes = {"v1": "POST /v1/models/{name}:predict", "v2": "POST /v2/models/{name}/infer"}
    assert set(named) == {*routes, "grpc-v2"}
    for version in named:
        assert row_of(routes.get(version, "inference.GRPCInferenceService/ModelInfer")).role == "predict"
    assert PREDICTOR["model"]["protocolVersion"] in named
    assert PREDICTOR["model"]["runtime"] == RUNTIME["metadata"]["name"]
    assert PREDICTOR["model"]["modelFormat"]["name"] == RUNTIME["spec"]["supportedModelFormats"][0]["name"]
    assert SERVICE["InferenceService"]["metadata"]["name"] in [model.name for model in config.model]


def test_one_pod_learns_and_what_it_writes_is_on_volumes(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    container = pod()["spec"]["containers"][0]
    mounts = {one["mountPath"]: one for one in container["volumeMounts"]}

    assert (PREDICTOR["minReplicas"], PREDICTOR["maxReplicas"]) == (1, 1)
    assert PREDICTOR["deploymentStrategy"] == {"type": "Recreate"}
    assert {path for path, one in mounts.items() if not one.get("readOnly")} == {
        "/var/lib/thalweg",
        "/dev/shm",
        "/tmp",
    }
    assert config.service.state_dir.startswith("/var/lib/thalweg/")
    assert {one["name"] for one in mounts.values()} == {one["name"] for one in pod()["spec"]["volumes"]}
    command, path, *options = container["args"]
    text = CliRunner().invoke(app, [command, "--help"], env={"NO_COLOR": "1", "TERM": "dumb"}).output
    assert all(option in text for option in options if option.startswith("--"))
    assert Path(path).parent == Path("/etc/thalweg")
    assert Path(path).name in SERVICE["ConfigMap"]["data"]
    assert f"--uid {container['securityContext']['runAsUser']} " in DOCKERFILE
    assert PREDICTOR["terminationGracePeriodSeconds"] >= 2 * config.service.drain_seconds


def test_the_logger_posts_to_the_events_of_a_model_that_gets_labels(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    logger = LOGGED["spec"]["predictor"]["logger"]
    url = urlparse(logger["url"])

    _, version, models, name, route = url.path.split("/")
    (model,) = [one for one in config.model if one.name == name]
    assert row_of(f"POST /{version}/{models}/{{name}}/{route}").role == "learn"
    assert model.labels_topic
    assert url.hostname == f"{SERVICE['InferenceService']['metadata']['name']}-predictor"
    assert logger["mode"] in ("all", "request", "response")
    assert "responses=label" in (FOLDER / "logged-service.yaml").read_text()
    assert "label" in OPTIONS["responses"]
