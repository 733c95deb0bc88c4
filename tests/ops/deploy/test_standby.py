"""The chart's standby: Kubernetes accepts it, the service takes what it is given for one, and it is watched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from tests.ops.deploy.test_chart import CHART, EVERYTHING, FOREIGN, KINDS, KUBERNETES, SPLIT, rendered
from tests.services.helm import helm
from tests.services.processes import required_or_skipped
from thalweg.ops.config.config import load
from thalweg.ops.config.hosts.warnings import host_warnings, without_effect

pytestmark = pytest.mark.helm

NAME = "fraud-thalweg-standby"


def standing_by(learners: Mapping[str, Any], **standby: Any) -> dict[str, Any]:
    split = {**SPLIT["split"], "learners": learners, "standby": {"replicas": 1, **standby}}
    return {**EVERYTHING, **SPLIT, "split": split}


def test_kubernetes_accepts_a_standby(tmp_path: Path) -> None:
    made = rendered(tmp_path, standing_by({"replicas": 2}))

    for (kind, _), document in made.items():
        if kind not in FOREIGN:
            kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    assert {kind for kind, name in made if name == NAME} == {
        "Deployment",
        "Service",
        "NetworkPolicy",
        "PodDisruptionBudget",
    }
    assert not [name for _, name in rendered(tmp_path, {**EVERYTHING, **SPLIT}) if name == NAME]


@pytest.mark.parametrize(
    ("learners", "least"),
    [
        ({"replicas": 3}, 3 * EVERYTHING["learners"]),
        ({"autoscaling": {"enabled": True, "minReplicas": 2, "maxReplicas": 8}}, 2 * EVERYTHING["learners"]),
    ],
)
def test_the_service_takes_it_for_a_standby_of_so_many_learners(
    learners: Mapping[str, Any], least: int, tmp_path: Path
) -> None:
    made = rendered(tmp_path, standing_by(learners, warmShards=5, resources={"requests": {"cpu": "3"}}))
    spec = made["Deployment", NAME]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    path = tmp_path / "thalweg.toml"
    path.write_text(made["ConfigMap", "fraud-thalweg"]["data"]["thalweg.toml"])

    # but for the files that are mounted
    variables = {it["name"]: it.get("value", "a secret") for it in container["env"] if "/etc/" not in str(it)}
    config = load(path, variables)

    service = config.service
    assert (service.role, service.least_learners, service.warm_shards, service.followed) == ("standby", least, 5, 5)
    assert [*host_warnings(config), *without_effect(config)] == []
    assert {one["name"]: one["containerPort"] for one in container["ports"]} == {"http": int(service.http[-4:])}
    assert container["resources"]["requests"]["cpu"] == "3"
    assert {"name": "state", "emptyDir": {}} in spec["volumes"]


def test_it_is_watched_and_callers_do_not_reach_it(tmp_path: Path) -> None:
    made = rendered(tmp_path, standing_by({"replicas": 2}))
    places = {**KINDS, "standby": ("Deployment", NAME)}
    labels = {kind: made[place]["spec"]["template"]["metadata"]["labels"] for kind, place in places.items()}

    def chosen(selector: Mapping[str, str]) -> list[str]:
        return [kind for kind, own in labels.items() if selector.items() <= own.items()]

    assert chosen(made["Service", "fraud-thalweg"]["spec"]["selector"]) == ["server"]
    assert chosen(made["Service", NAME]["spec"]["selector"]) == ["standby"]
    monitored = made["ServiceMonitor", "fraud-thalweg"]["spec"]["selector"]["matchLabels"]
    assert monitored.items() <= made["Service", NAME]["metadata"]["labels"].items()
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert chosen(made[kind, NAME]["spec"]["selector"]["matchLabels"]) == ["standby"]
    policy = made["NetworkPolicy", NAME]["spec"]
    assert chosen(policy["podSelector"]["matchLabels"]) == ["standby"]
    assert [port for rule in policy["ingress"] for port in rule["ports"]] == [{"port": "http"}]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"split": {"standby": {"replicas": 1}}}, "split.standby: expected split.enabled beside it"),
        (
            {"split": {"enabled": True, "standby": {"replicas": 1}}, "env": {"THALWEG_STORE__URL": "redis://r"}},
            "split.standby: expected THALWEG_SERVICE__STATE_URL",
        ),
        (
            {
                "split": {"enabled": True, "standby": {"replicas": 1}},
                "env": {"THALWEG_SERVICE__STATE_URL": "s3://states/fraud"},
            },
            "split.standby: expected [model.scale] in config",
        ),
        ({"split": {"standby": {"replica": 1}}}, "replica"),
        ({"split": {"standby": {"warmShards": 0}}}, "warmShards"),
        ({"env": {"THALWEG_SERVICE__LEAST_LEARNERS": "2"}}, "set by the chart"),
    ],
)
def test_a_standby_of_nothing_is_refused(values: Mapping[str, Any], told: str, tmp_path: Path) -> None:
    given = tmp_path / "values.json"
    given.write_text(json.dumps(values))

    with required_or_skipped():
        done = helm("template", "fraud", CHART, *KUBERNETES, "--values", given)

    assert done.returncode != 0
    assert told in done.stderr


@pytest.mark.parametrize("name", ["thalweg", "a" * 53])
def test_names_fit_whatever_the_release_is_called(name: str, tmp_path: Path) -> None:
    made = rendered(tmp_path, standing_by({"replicas": 2}), name)

    assert all(len(found) <= 63 for _, found in made)
    assert len({found for kind, found in made if kind == "Service"}) == 4
