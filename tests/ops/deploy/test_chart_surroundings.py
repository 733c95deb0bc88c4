"""The chart among what clusters bring: meshes, gateways, chosen users, spare nodes, closed networks, other volumes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from tests.ops.deploy.test_chart import (
    CHART,
    EVERYTHING,
    FOREIGN,
    KINDS,
    KUBERNETES,
    ROOT,
    SPLIT,
    container,
    environment,
    rendered,
)
from tests.ops.deploy.test_kserve import pod as kserve_pod
from tests.services.helm import helm
from tests.services.processes import required_or_skipped
from thalweg.ops.config.environment import SECRETS_DIR
from thalweg.ops.config.sections import ServiceConfig
from thalweg.ops.run.shards.owner import RELEASE_SECONDS

pytestmark = pytest.mark.helm

ALONE = ("StatefulSet", "fraud-thalweg")
MORE: dict[str, Any] = {
    "image": {"repository": "r/thalweg", "digest": "sha256:" + "0" * 64},
    "secretFiles": {"existingSecret": "passwords"},
    "service": {"bindAddress": "[::]", "ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6", "IPv4"]},
    "gateway": {
        "parentRefs": [{"name": "g"}],
        "httpHostnames": ["fraud.example"],
        "grpcHostnames": ["g.fraud.example"],
    },
    "networkPolicy": {"enabled": True, "egress": [{"to": [{"podSelector": {}}], "ports": [{"port": 9092}]}]},
    "priorityClassName": "high",
    "topologySpreadConstraints": [
        {"topologyKey": "kubernetes.io/hostname", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
    ],
    "podSpec": {"runtimeClassName": "nvidia", "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["kafka"]}]},
    "initContainers": [{"name": "weights", "image": "curl"}],
    "extraContainers": [{"name": "beside", "image": "beside"}],
    "podDisruptionBudget": {"enabled": True},
}
SCALED_SERVERS = {**SPLIT, "split": {**SPLIT["split"], "servers": {"autoscaling": {"enabled": True, "maxReplicas": 5}}}}


def pod(made: Mapping[tuple[str, str], Any], place: tuple[str, str] = ALONE) -> Any:
    return made[place]["spec"]["template"]["spec"]


def refusal(values: Mapping[str, Any], folder: Path) -> str:
    given = folder / "values.json"
    given.write_text(json.dumps(values))
    with required_or_skipped():
        done = helm("template", "fraud", CHART, *KUBERNETES, "--values", given)
    assert done.returncode != 0
    return done.stderr


@pytest.mark.parametrize("apart", [False, True])
def test_kubernetes_accepts_it_with_all_that_surrounds_it(apart: bool, tmp_path: Path) -> None:
    made = rendered(tmp_path, {**MORE, **(SCALED_SERVERS if apart else {})})

    for (kind, _), document in made.items():
        if kind not in FOREIGN:
            kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    assert {"HTTPRoute", "GRPCRoute", "NetworkPolicy"} <= {kind for kind, _ in made}
    for place in KINDS.values() if apart else (ALONE,):
        found = pod(made, place)
        assert (found["priorityClassName"], found["runtimeClassName"]) == ("high", "nvidia")
        assert [one["name"] for one in found["containers"]] == ["thalweg", "beside"]
        assert found["containers"][0]["image"] == "r/thalweg@sha256:" + "0" * 64
        mounts = {one["name"]: one["mountPath"] for one in found["containers"][0]["volumeMounts"]}
        variables = {one["name"]: one.get("value") for one in found["containers"][0]["env"]}
        assert variables[SECRETS_DIR] == mounts["secrets"]


def test_a_pod_takes_callers_before_its_models_have_learned_and_leaves_them_time_to_go(tmp_path: Path) -> None:
    made = rendered(tmp_path, {})

    assert container(made)["readinessProbe"]["httpGet"]["path"] == "/readyz?exclude=untrained"
    assert container(made)["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "5"]
    assert "lifecycle" not in container(rendered(tmp_path, SPLIT), "learner")  # nobody calls it


def test_what_is_stopped_has_the_time_that_stopping_takes(tmp_path: Path) -> None:
    drain = ServiceConfig.model_fields["drain_seconds"].default
    grace = pod(rendered(tmp_path, {}))["terminationGracePeriodSeconds"]

    assert grace >= 5 + 2 * (drain + 5)  # as the supervisor stops servers, then learners
    assert drain >= RELEASE_SECONDS  # of the shards of a learner
    long = {"config": "[service]\ndrain_seconds = 30\n"}
    assert "terminationGracePeriodSeconds: expected at least 75" in refusal(long, tmp_path)
    assert "expected at least 75" in refusal({"env": {"THALWEG_SERVICE__DRAIN_SECONDS": "30"}}, tmp_path)
    rendered(tmp_path, {**long, "terminationGracePeriodSeconds": 75})


def test_pods_of_a_kind_are_spread_over_nodes_and_zones(tmp_path: Path) -> None:
    made, chosen = rendered(tmp_path, SPLIT), rendered(tmp_path, {**MORE, **SPLIT})

    for kind, place in KINDS.items():
        labels = made[place]["spec"]["template"]["metadata"]["labels"]
        assert {one["topologyKey"] for one in pod(made, place)["topologySpreadConstraints"]} == {
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
        }
        for one in [*pod(made, place)["topologySpreadConstraints"], *pod(chosen, place)["topologySpreadConstraints"]]:
            assert one["labelSelector"]["matchLabels"]["app.kubernetes.io/component"] == kind
            assert one["labelSelector"]["matchLabels"].items() <= labels.items()
        (one,) = pod(chosen, place)["topologySpreadConstraints"]
        assert one["whenUnsatisfiable"] == "DoNotSchedule"


def test_every_pod_keeps_the_restricted_pod_security_standard(tmp_path: Path) -> None:
    standby = {**SPLIT["split"], "standby": {"replicas": 1}}
    apart = rendered(tmp_path, {**EVERYTHING, **SPLIT, "split": standby, "secretFiles": {"existingSecret": "p"}})
    specs = [
        one["spec"]["template"]["spec"] for (kind, _), one in apart.items() if kind in ("StatefulSet", "Deployment")
    ]
    specs += [pod(rendered(tmp_path, {})), kserve_pod()["spec"]]

    assert len(specs) == 5
    for spec in specs:
        (one,) = spec["containers"]
        merged = {**spec.get("securityContext", {}), **one["securityContext"]}
        assert merged["runAsNonRoot"] is True
        assert merged["allowPrivilegeEscalation"] is False
        assert merged["capabilities"] == {"drop": ["ALL"]}
        assert merged["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"configMap", "emptyDir", "persistentVolumeClaim", "secret"}


def test_a_user_may_be_left_to_the_cluster(tmp_path: Path) -> None:
    nobody = {"podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}}

    found = pod(rendered(tmp_path, nobody))["securityContext"]

    assert found["runAsNonRoot"] is True
    assert found.keys().isdisjoint({"runAsUser", "runAsGroup", "fsGroup"})


def test_the_alert_of_a_target_that_is_down_meets_the_job_that_the_monitor_makes(tmp_path: Path) -> None:
    made = rendered(tmp_path, {**EVERYTHING, **SPLIT})

    label = made["ServiceMonitor", "fraud-thalweg"]["spec"]["jobLabel"]
    jobs = {one["metadata"]["labels"][label] for (kind, _), one in made.items() if kind == "Service"}

    rules = (ROOT / "ops" / "prometheus" / "rules" / "alerts.yml").read_text()
    assert jobs == {"thalweg"}
    assert 'up{job="thalweg"} == 0' in rules


def test_learners_stay_as_many_as_they_are_while_there_are_no_figures(tmp_path: Path) -> None:
    (trigger,) = rendered(tmp_path, SPLIT)["ScaledObject", "fraud-thalweg-learner"]["spec"]["triggers"]

    assert trigger["metadata"]["ignoreNullValues"] == "false"


def test_servers_are_scaled_by_their_load(tmp_path: Path) -> None:
    made = rendered(tmp_path, SCALED_SERVERS)
    scaler = made["HorizontalPodAutoscaler", "fraud-thalweg"]["spec"]

    assert (scaler["scaleTargetRef"]["kind"], scaler["scaleTargetRef"]["name"]) == KINDS["server"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 5)
    assert "replicas" not in made[KINDS["server"]]["spec"]
    assert container(made, "server")["resources"]["requests"]["cpu"]  # what the share is of


def test_meshes_and_gateways_are_told_what_is_spoken(tmp_path: Path) -> None:
    def spoken(values: Mapping[str, Any]) -> set[tuple[str, str]]:
        made = rendered(tmp_path, values)
        services = [one["spec"] for (kind, _), one in made.items() if kind == "Service"]
        return {(port["name"], port["appProtocol"]) for one in services for port in one["ports"]}

    assert spoken(SPLIT) == {("http", "http"), ("grpc", "grpc")}
    assert spoken({**SPLIT, "tls": {"existingSecret": "c"}}) == {("http", "https"), ("grpc", "https")}
    made = rendered(tmp_path, MORE)
    ports = {port["name"]: port["port"] for port in made["Service", "fraud-thalweg"]["spec"]["ports"]}
    for kind, name, port in (("HTTPRoute", "fraud-thalweg", "http"), ("GRPCRoute", "fraud-thalweg-grpc", "grpc")):
        (rule,) = made[kind, name]["spec"]["rules"]
        assert rule["backendRefs"] == [{"name": "fraud-thalweg", "port": ports[port]}]
    variables = environment(rendered(tmp_path, {"service": MORE["service"]}))
    assert variables["THALWEG_SERVICE__GRPC"] == "[::]:8081"
    one = {"parentRefs": [{"name": "g"}], "httpHostnames": ["a"], "grpcHostnames": ["a"]}
    assert "expected host names of their own for HTTP and for gRPC, got a for both" in refusal(
        {"gateway": one}, tmp_path
    )


def test_a_closed_network_leaves_names_and_what_is_listed(tmp_path: Path) -> None:
    made = rendered(tmp_path, {**MORE, **SPLIT})

    policies = [one["spec"] for (kind, _), one in made.items() if kind == "NetworkPolicy"]
    assert len(policies) == 2
    for one in policies:
        assert one["policyTypes"] == ["Ingress", "Egress"]
        names, listed = one["egress"]
        assert {(port["port"], port["protocol"]) for port in names["ports"]} == {(53, "UDP"), (53, "TCP")}
        assert listed == MORE["networkPolicy"]["egress"][0]
    (one,) = (
        made["spec"]
        for (kind, _), made in rendered(tmp_path, {"networkPolicy": {"enabled": True}}).items()
        if kind == "NetworkPolicy"
    )
    assert (one["policyTypes"], "egress" in one) == (["Ingress"], False)


def test_a_volume_that_is_there_may_be_used(tmp_path: Path) -> None:
    made = rendered(tmp_path, {"persistence": {"existingClaim": "restored"}})

    assert "volumeClaimTemplates" not in made[ALONE]["spec"]
    assert {"name": "state", "persistentVolumeClaim": {"claimName": "restored"}} in pod(made)["volumes"]
    assert "expected one pod, got split.enabled" in refusal(
        {**SPLIT, "persistence": {"existingClaim": "restored"}}, tmp_path
    )


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"podSpec": {"containers": []}}, "podSpec: containers is set by the chart"),
        ({"podSpec": {"tolerations": []}}, "podSpec: tolerations is set by the chart, or by a value of its own"),
        ({"env": {"A__B": "c"}, "secretEnv": {"A__B": {"name": "n", "key": "k"}}}, "expected A__B in one of them"),
        ({"image": {"digest": "latest"}}, "digest"),
    ],
)
def test_values_that_contradict_each_other_are_refused(values: Mapping[str, Any], told: str, tmp_path: Path) -> None:
    assert told in refusal(values, tmp_path)
