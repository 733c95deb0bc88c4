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
from thalweg.ops.telemetry.metrics import COLLECTED

pytestmark = pytest.mark.helm

ROOT = Path(__file__).parents[3]
CHART = ROOT / "ops" / "helm" / "thalweg"
KUBERNETES = ("--kube-version", "1.30.0")
"""Helm built by Go takes its cluster for one of the year 2020."""
FOREIGN = {"ServiceMonitor", "PrometheusRule", "ScaledObject", "HTTPRoute", "GRPCRoute"}
"""Kinds of the Prometheus operator, of KEDA and of the Gateway API, which Kubernetes itself does not know."""
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
SCALED = """
[service]
state_url = "s3://states/fraud"

[log]
url = "kafka://kafka:9092"

[store]
url = "redis://redis:6379/0"

[[model]]
name = "m"
learner = "nearest_mean"
topic = "m"
inputs.x = { shape = [2] }

[model.scale]
answers = "key"
"""
SPLIT: dict[str, Any] = {
    "config": SCALED,
    "split": {
        "enabled": True,
        "learners": {
            "replicas": 2,
            "resources": {"requests": {"cpu": "2"}},
            "autoscaling": {"enabled": True, "minReplicas": 2, "maxReplicas": 8, "lagSeconds": 5},
        },
        "servers": {"replicas": 3, "resources": {"requests": {"cpu": "3"}}},
    },
}
WAYS = {
    "as it comes": {},
    "with everything": EVERYTHING,
    "mutual TLS": {"tls": {"existingSecret": "c", "clientCa": "ca"}},
    "learners and servers apart": {**EVERYTHING, **SPLIT},
}
KINDS = {"learner": ("StatefulSet", "fraud-thalweg-learner"), "server": ("Deployment", "fraud-thalweg")}
"""Where the pods of each kind come from, where learners and servers are apart."""


def rendered(folder: Path, values: Mapping[str, Any], name: str = "fraud") -> dict[tuple[str, str], dict[str, Any]]:
    """What the chart makes, by kind and name."""
    given = folder / "values.json"
    given.write_text(json.dumps(values))
    with required_or_skipped():
        done = helm("template", name, CHART, "--namespace", "ml", *KUBERNETES, "--values", given)
    assert done.returncode == 0, done.stderr
    documents = [one for one in yaml.safe_load_all(done.stdout) if one]
    return {(one["kind"], one["metadata"]["name"]): one for one in documents}


def container(made: Mapping[tuple[str, str], Any], kind: str = "") -> Any:
    """The container of the only pod; `kind`: of the pods of that kind."""
    place = KINDS.get(kind) or next(
        key for key in made if key[0] == "StatefulSet"
    )  # its name depends on the release's, and there is one
    (one,) = made[place]["spec"]["template"]["spec"]["containers"]
    return one


def environment(made: Mapping[tuple[str, str], Any], kind: str = "") -> dict[str, str]:
    return {one["name"]: one.get("value", "a secret") for one in container(made, kind)["env"]}


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


@pytest.mark.parametrize(("way", "kind"), [*((way, "") for way in WAYS), ("learners and servers apart", "server")])
def test_probes_ask_what_is_open_to_everyone(way: str, kind: str, tmp_path: Path) -> None:
    one = container(rendered(tmp_path, WAYS[way]), kind)

    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        if way == "mutual TLS":
            assert one[name]["httpGet"]["port"] == "health"
            assert "scheme" not in one[name]["httpGet"]
            continue
        asked = one[name]["httpGet"]
        assert row_of(f"GET {asked['path'].partition('?')[0]}").role is None
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
        ({"config": "a = 1", "existingConfigMap": "ours"}, "expected either config or existingConfigMap, got both"),
        ({"split": {"enabled": True}}, "expected THALWEG_STORE__URL"),
        ({"split": {"enabled": True, "learners": {"replicas": 0}}}, "replicas"),
        (
            {"split": {"enabled": True, "learners": {"replicas": 2}}, "env": {"THALWEG_STORE__URL": "redis://r"}},
            "got 2 learners and no place where a partition that moves finds its state",
        ),
        (
            {
                "split": {"enabled": True, "learners": {"replicas": 2}},
                "env": {"THALWEG_SERVICE__STATE_URL": "s3://states/fraud"},
            },
            "expected [model.scale] in config, got 2 learners",
        ),
        (
            {**SPLIT, "split": {"enabled": True, "learners": {"autoscaling": {"minReplicas": 5, "maxReplicas": 2}}}},
            "expected minReplicas of at most maxReplicas (2), got 5",
        ),
        ({"split": {"enabled": True, "learner": {}}}, "learner"),
        ({"env": {"thalweg_service__role": "serve"}}, "set by the chart"),
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


def test_learners_and_servers_apart_take_the_same_configuration_and_different_roles(tmp_path: Path) -> None:
    made = rendered(tmp_path, {**SPLIT, "env": {"THALWEG_LOG__CLIENT": "confluent"}})
    path = tmp_path / "thalweg.toml"
    path.write_text(made["ConfigMap", "fraud-thalweg"]["data"]["thalweg.toml"])

    for kind, role in (("learner", "learn"), ("server", "serve")):
        variables = environment(made, kind)
        assert variables["THALWEG_SERVICE__ROLE"] == role
        if "role" not in ServiceConfig.model_fields:  # it comes with relays; the chart is ready for it
            del variables["THALWEG_SERVICE__ROLE"]
        config = load(path, variables)
        assert getattr(config.service, "role", role) == role
        ports = {one["name"]: one["containerPort"] for one in container(made, kind)["ports"]}
        listening = {"http": config.service.http, "grpc": config.service.grpc}
        assert ports.keys() == ({"http"} if kind == "learner" else {"http", "grpc"})  # learners answer no predictions
        assert all(listening[name] == f"0.0.0.0:{port}" for name, port in ports.items())
        cores = container(made, kind)["resources"]["requests"]["cpu"]
        assert cores == SPLIT["split"][f"{kind}s"]["resources"]["requests"]["cpu"]
    assert config.model[0].scale is not None


def test_each_learner_keeps_its_name_and_its_volume_and_servers_keep_nothing(tmp_path: Path) -> None:
    made = rendered(tmp_path, SPLIT)
    learners, servers = made[KINDS["learner"]]["spec"], made[KINDS["server"]]["spec"]

    assert [one["metadata"]["name"] for one in learners["volumeClaimTemplates"]] == ["state"]
    assert "replicas" not in learners  # KEDA's
    assert "hostname" not in learners["template"]["spec"]  # it is the pod's name, by which Kafka knows the learner
    assert learners["podManagementPolicy"] == "Parallel"
    assert ("Service", learners["serviceName"]) in made
    assert {"name": "state", "emptyDir": {}} in servers["template"]["spec"]["volumes"]
    assert servers["replicas"] == 3
    assert (
        rendered(tmp_path, {**SPLIT, "split": {"enabled": True, "learners": {"replicas": 2}}})[KINDS["learner"]][
            "spec"
        ]["replicas"]
        == 2
    )


def test_callers_reach_servers_and_nobody_reaches_learners_but_for_metrics(tmp_path: Path) -> None:
    made = rendered(tmp_path, {**EVERYTHING, **SPLIT})
    labels = {kind: made[place]["spec"]["template"]["metadata"]["labels"] for kind, place in KINDS.items()}

    def chosen(selector: Mapping[str, str]) -> list[str]:
        return [kind for kind, own in labels.items() if selector.items() <= own.items()]

    assert chosen(made["Service", "fraud-thalweg"]["spec"]["selector"]) == ["server"]
    assert chosen(made["Service", "fraud-thalweg-headless"]["spec"]["selector"]) == ["server"]
    assert chosen(made["Service", "fraud-thalweg-learner"]["spec"]["selector"]) == ["learner"]
    for kind, (_, name) in KINDS.items():
        assert chosen(made[KINDS[kind]]["spec"]["selector"]["matchLabels"]) == [kind]
        assert chosen(made["PodDisruptionBudget", name]["spec"]["selector"]["matchLabels"]) == [kind]
        assert made["PodDisruptionBudget", name]["spec"]["maxUnavailable"] == 1
        policy = made["NetworkPolicy", name]["spec"]
        assert chosen(policy["podSelector"]["matchLabels"]) == [kind]
        assert len(policy["ingress"]) == (2 if kind == "server" else 1)
    monitored = made["ServiceMonitor", "fraud-thalweg"]["spec"]["selector"]["matchLabels"]
    found = [one for (kind, _), one in made.items() if kind == "Service"]
    scraped = [
        one["spec"]["selector"]
        for one in found
        if monitored.items() <= one["metadata"]["labels"].items()
        and "http" in {p["name"] for p in one["spec"]["ports"]}
    ]
    assert sorted(kind for one in scraped for kind in chosen(one)) == ["learner", "server"]
    closed = rendered(tmp_path, {**SPLIT, "networkPolicy": {"enabled": True}})
    assert closed["NetworkPolicy", "fraud-thalweg-learner"]["spec"]["ingress"] == []


def test_learners_are_scaled_by_a_metric_that_there_is(tmp_path: Path) -> None:
    made = rendered(tmp_path, SPLIT)

    scaled = made["ScaledObject", "fraud-thalweg-learner"]["spec"]
    target = scaled["scaleTargetRef"]
    assert (target["kind"], target["name"]) == KINDS["learner"]
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (2, 8)
    (trigger,) = scaled["triggers"]
    query = trigger["metadata"]["query"]
    (metric,) = re.findall(r"thalweg_\w+(?=\{)", query)
    assert metric in COLLECTED
    assert (trigger["metadata"]["threshold"], 'namespace="ml"' in query) == ("5", True)
    (pods,) = re.findall(r'pod=~"([^"]+)"', query)
    assert re.fullmatch(pods, "fraud-thalweg-learner-11")
    assert not re.fullmatch(pods, "fraud-thalweg-7d9c5")
    assert ("ScaledObject", "fraud-thalweg-learner") not in rendered(
        tmp_path, {**SPLIT, "split": {"enabled": True, "learners": {"replicas": 2}}}
    )


@pytest.mark.parametrize("name", ["thalweg", "a" * 53, "our-thalweg"])
@pytest.mark.parametrize(("values", "services"), [({}, 2), (SPLIT, 3)], ids=["one pod", "apart"])
def test_names_fit_whatever_the_release_is_called(
    name: str, values: Mapping[str, Any], services: int, tmp_path: Path
) -> None:
    made = rendered(tmp_path, values, name)

    assert all(len(found) <= 63 for _, found in made)
    assert all(len(found) <= 53 for kind, found in made if kind == "StatefulSet")  # its pods have longer labels
    assert len({found for kind, found in made if kind == "Service"}) == services
