"""The Helm chart: Kubernetes accepts what it renders, and the service accepts what it is given there."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from tests.ops.deploy.test_compose import DOCKERFILE
from tests.services.helm import helm
from tests.services.processes import required_or_skipped
from thalweg.ops.cli.main import app
from thalweg.ops.config.config import Config, load
from thalweg.ops.config.sections import ServiceConfig
from thalweg.ops.serve.access.roles import row_of

pytestmark = pytest.mark.helm

ROOT = Path(__file__).parents[3]
CHART = ROOT / "ops" / "helm" / "thalweg"
KUBERNETES = ("--kube-version", "1.30.0")
"""Helm built by Go takes its cluster for one of the year 2020."""
FOREIGN = {"ServiceMonitor", "PrometheusRule"}
"""Kinds of the Prometheus operator, which Kubernetes itself does not know."""
EVERYTHING: dict[str, Any] = {
    "servers": 2,
    "learners": 3,
    "env": {"THALWEG_STORE__URL": "redis://redis:6379/0", "THALWEG_LOG__CLIENT": "confluent"},
    "secretEnv": {"THALWEG_LOG__KAFKA__SASL_PLAIN_PASSWORD": {"name": "kafka", "key": "password"}},
    "tokens": {"existingSecret": "tokens"},
    "tls": {"existingSecret": "certificate"},
    "imagePullSecrets": [{"name": "ours"}],
    "persistence": {"storageClass": "fast", "annotations": {"backup": "daily"}},
    "podDisruptionBudget": {"enabled": True},
    "serviceMonitor": {
        "enabled": True,
        "labels": {"release": "prometheus"},
        "tokenSecret": {"name": "scraping", "key": "token"},
    },
    "prometheusRule": {"enabled": True},
    "networkPolicy": {
        "enabled": True,
        "callers": [{"podSelector": {"matchLabels": {"app": "shop"}}}],
        "monitoring": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
    },
    "serviceAccount": {"annotations": {"role": "reader"}},
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "fraud"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "learning", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "extraVolumes": [{"name": "weights", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "weights", "mountPath": "/weights"}],
}
WAYS = {
    "as it comes": {},
    "with everything": EVERYTHING,
    "mutual TLS": {"tls": {"existingSecret": "c", "clientCa": "ca"}},
}


def rendered(folder: Path, values: Mapping[str, Any], name: str = "fraud") -> dict[tuple[str, str], dict[str, Any]]:
    """What the chart makes, by kind and name."""
    given = folder / "values.json"
    given.write_text(json.dumps(values))
    with required_or_skipped():
        done = helm("template", name, CHART, "--namespace", "ml", *KUBERNETES, "--values", given)
    assert done.returncode == 0, done.stderr
    documents = [one for one in yaml.safe_load_all(done.stdout) if one]
    return {(one["kind"], one["metadata"]["name"]): one for one in documents}


def container(made: Mapping[tuple[str, str], Any], name: str = "fraud-thalweg") -> Any:
    (one,) = made["StatefulSet", name]["spec"]["template"]["spec"]["containers"]
    return one


def environment(made: Mapping[tuple[str, str], Any]) -> dict[str, str]:
    return {one["name"]: one.get("value", "a secret") for one in container(made)["env"]}


def configuration(made: Mapping[tuple[str, str], Any], folder: Path, **more: str) -> Config:
    """What the service makes of the configuration and the variables that it is given."""
    path = folder / "thalweg.toml"
    path.write_text(made["ConfigMap", "fraud-thalweg"]["data"]["thalweg.toml"])
    return load(path, {**environment(made), **more})


def test_helm_finds_nothing_to_complain_of(tmp_path: Path) -> None:
    with required_or_skipped():
        done = helm("lint", "--strict", CHART)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("way", WAYS)
def test_kubernetes_accepts_what_is_rendered(way: str, tmp_path: Path) -> None:
    made = rendered(tmp_path, WAYS[way])

    for (kind, _), document in made.items():
        if kind not in FOREIGN:
            kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    assert {kind for kind, _ in made} >= {"StatefulSet", "Service", "ConfigMap", "ServiceAccount"}


def test_what_is_rendered_is_held_against_the_specification(tmp_path: Path) -> None:
    made = rendered(tmp_path, {})
    made["StatefulSet", "fraud-thalweg"]["spec"]["replica"] = 2

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(
            made["StatefulSet", "fraud-thalweg"], kubernetes_validate.latest_version(), strict=True
        )


@pytest.mark.parametrize("way", ["as it comes", "with everything"])
def test_the_service_accepts_its_configuration(way: str, tmp_path: Path) -> None:
    made = rendered(tmp_path, {**WAYS[way], "tokens": {}, "tls": {}})

    config = configuration(made, tmp_path)

    ports = {one["name"]: one["containerPort"] for one in container(made)["ports"]}
    assert {"grpc": config.service.grpc, "http": config.service.http} == {
        name: f"0.0.0.0:{port}" for name, port in ports.items()
    }
    assert config.service.state_dir.startswith(mount_of(made, "state"))
    assert config.service.servers == WAYS[way].get("servers", 1)
    assert config.service.learners == WAYS[way].get("learners", 1)
    grace = made["StatefulSet", "fraud-thalweg"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace >= 2 * config.service.drain_seconds
    assert {f"EXPOSE {' '.join(map(str, sorted(ports.values())))}"} <= set(DOCKERFILE.splitlines())


def mount_of(made: Mapping[tuple[str, str], Any], volume: str) -> str:
    (path,) = [one["mountPath"] for one in container(made)["volumeMounts"] if one["name"] == volume]
    return str(path)


def test_secrets_are_files_where_the_service_looks_for_them(tmp_path: Path) -> None:
    made = rendered(tmp_path, {"tokens": {"existingSecret": "t"}, "tls": {"existingSecret": "c", "clientCa": "ca.pem"}})
    found = environment(made)

    folders = {"token_file": "tokens", "tls_certificate": "tls", "tls_key": "tls", "tls_client_ca": "tls"}
    for key, volume in folders.items():
        assert key in ServiceConfig.model_fields
        assert found[f"THALWEG_SERVICE__{key.upper()}"].startswith(mount_of(made, volume) + "/")


def test_every_folder_that_is_written_is_a_volume_and_the_rest_cannot_be_written(tmp_path: Path) -> None:
    made = rendered(tmp_path, {})
    security = container(made)["securityContext"]

    assert (security["readOnlyRootFilesystem"], security["capabilities"]) == (True, {"drop": ["ALL"]})
    written = {one["mountPath"] for one in container(made)["volumeMounts"] if not one.get("readOnly")}
    assert written == {"/var/lib/thalweg", "/dev/shm", "/tmp"}
    user = made["StatefulSet", "fraud-thalweg"]["spec"]["template"]["spec"]["securityContext"]["runAsUser"]
    assert f"--uid {user} " in DOCKERFILE


@pytest.mark.parametrize("way", WAYS)
def test_probes_ask_what_is_open_to_everyone(way: str, tmp_path: Path) -> None:
    one = container(rendered(tmp_path, WAYS[way]))

    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        if way == "mutual TLS":
            assert one[name]["tcpSocket"] == {"port": "http"}
            continue
        asked = one[name]["httpGet"]
        assert row_of(f"GET {asked['path']}").role is None
        assert asked.get("scheme", "HTTP") == ("HTTPS" if "tls" in WAYS[way] else "HTTP")
    assert one["readinessProbe"] != one["livenessProbe"] or way == "mutual TLS"


def test_the_command_has_the_options_that_are_given(tmp_path: Path) -> None:
    command, _, *options = container(rendered(tmp_path, {}))["args"]

    text = re.sub(r"\x1b\[[0-9;]*m", "", CliRunner().invoke(app, [command, "--help"]).output)

    assert all(option in text for option in options if option.startswith("--"))


def test_the_rules_are_those_that_are_tested(tmp_path: Path) -> None:
    made = rendered(tmp_path, {"prometheusRule": {"enabled": True}})

    expected = [
        group
        for path in sorted((ROOT / "ops" / "prometheus" / "rules").glob("*.yml"))
        for group in yaml.safe_load(path.read_text())["groups"]
    ]
    assert made["PrometheusRule", "fraud-thalweg"]["spec"]["groups"] == expected


def test_services_and_monitor_find_the_pods(tmp_path: Path) -> None:
    made = rendered(tmp_path, EVERYTHING)
    labels = made["StatefulSet", "fraud-thalweg"]["spec"]["template"]["metadata"]["labels"]

    services = [one for (kind, _), one in made.items() if kind == "Service"]
    assert len(services) == 2
    for service in services:
        assert service["spec"]["selector"].items() <= labels.items()
    monitor = made["ServiceMonitor", "fraud-thalweg"]["spec"]
    (watched,) = [
        one for one in services if monitor["endpoints"][0]["port"] in {p["name"] for p in one["spec"]["ports"]}
    ]
    assert monitor["selector"]["matchLabels"].items() <= watched["metadata"]["labels"].items()
    for kind in ("NetworkPolicy", "PodDisruptionBudget"):
        spec = made[kind, "fraud-thalweg"]["spec"]
        assert (spec.get("podSelector") or spec["selector"])["matchLabels"].items() <= labels.items()


def test_what_scrapes_has_the_token_and_the_certificate_that_it_needs(tmp_path: Path) -> None:
    values = {
        "tokens": {"existingSecret": "t"},
        "tls": {"existingSecret": "c", "clientCa": "ca"},
        "serviceMonitor": {
            "enabled": True,
            "tokenSecret": {"name": "scraping", "key": "token"},
            "certificateSecret": "prometheus",
        },
    }

    (endpoint,) = rendered(tmp_path, values)["ServiceMonitor", "fraud-thalweg"]["spec"]["endpoints"]

    assert endpoint["authorization"] == {"credentials": {"name": "scraping", "key": "token"}}
    assert endpoint["tlsConfig"]["cert"] == {"secret": {"name": "prometheus", "key": "tls.crt"}}
    assert endpoint["tlsConfig"]["keySecret"] == {"name": "prometheus", "key": "tls.key"}


def test_a_changed_configuration_restarts_the_pod(tmp_path: Path) -> None:
    def annotations(values: Mapping[str, Any]) -> Any:
        return rendered(tmp_path, values)["StatefulSet", "fraud-thalweg"]["spec"]["template"]["metadata"]["annotations"]

    assert annotations({"config": "a = 1"}) != annotations({"config": "a = 2"})
    assert rendered(tmp_path, {"existingConfigMap": "ours"}).keys().isdisjoint({("ConfigMap", "fraud-thalweg")})


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"replicaCount": 2}, "replicaCount"),
        ({"servers": 0}, "servers"),
        ({"learners": 0}, "learners"),
        ({"service": {"grpcPort": "8081"}}, "grpcPort"),
        ({"env": {"THALWEG_SERVICE__REQUESTS_BYTES": 268435456}}, "THALWEG_SERVICE__REQUESTS_BYTES"),
        ({"config": ""}, "config"),
        ({"persistence": {"size": "banana"}}, "persistence.size"),
        ({"sharedMemory": "lots"}, "sharedMemory"),
        ({"tls": {"clientCa": "ca.crt"}}, "expected tls.existingSecret"),
        ({"env": {"THALWEG_SERVICE__STATE_DIR": "/tmp/x"}}, "set by the chart"),
        (
            {"tokens": {"existingSecret": "t"}, "serviceMonitor": {"enabled": True}},
            "expected serviceMonitor.tokenSecret",
        ),
        (
            {"tls": {"existingSecret": "c", "clientCa": "ca"}, "serviceMonitor": {"enabled": True}},
            "expected serviceMonitor.certificateSecret",
        ),
    ],
)
def test_values_that_mean_nothing_are_refused(values: Mapping[str, Any], told: str, tmp_path: Path) -> None:
    given = tmp_path / "values.json"
    given.write_text(json.dumps(values))

    with required_or_skipped():
        done = helm("template", "fraud", CHART, *KUBERNETES, "--values", given)

    assert done.returncode != 0
    assert told in done.stderr


@pytest.mark.parametrize("name", ["thalweg", "a" * 53, "our-thalweg"])
def test_names_fit_whatever_the_release_is_called(name: str, tmp_path: Path) -> None:
    made = rendered(tmp_path, {}, name)

    assert all(len(found) <= 63 for _, found in made)
    assert len({found for kind, found in made if kind == "Service"}) == 2
