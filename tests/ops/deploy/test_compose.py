"""docker-compose.yml: the Compose specification accepts it, and what it wires together fits."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
import yaml
from compose_spec import PyCompose

from tests.services.processes import required_or_skipped
from tests.services.prometheus import binary
from thalweg.ops.config.config import load

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "ops" / "docker" / "Dockerfile").read_text()


def mounts(name: str) -> dict[str, str]:
    """What is mounted, by where in the container."""
    return {target: source for source, target, *_ in (entry.split(":") for entry in SERVICES[name]["volumes"])}


def address(url: str) -> tuple[str, int]:
    found = urlparse(url if "://" in url else f"//{url}")
    assert found.hostname is not None
    assert found.port is not None
    return found.hostname, found.port


def test_the_specification_accepts_it() -> None:
    assert set(PyCompose.from_yaml(TEXT).service_names()) == {
        "kafka",
        "redis",
        "thalweg",
        "producer",
        "prometheus",
        "grafana",
    }


def test_the_dockerfile_has_no_bad_habits() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), "--no-color", ROOT / "ops" / "docker" / "Dockerfile"],
        capture_output=True,
        text=True,
    )

    assert done.stdout == ""
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("service_healthy", "service_wealthy"), ("shm_size: 256m", "shm_size: lots"), ("restart:", "restrat:")],
)
def test_the_specification_is_strict(right: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        PyCompose.from_yaml(TEXT.replace(right, wrong))


def test_what_is_mounted_is_there_and_cannot_be_written() -> None:
    for name, service in SERVICES.items():
        for entry in service["volumes"]:
            source, target, *mode = entry.split(":")
            assert target.startswith("/")
            if source.startswith("."):
                assert (ROOT / source).exists(), f"{name}: {source}"
                assert mode == ["ro"], f"{name}: {source}"
            else:
                assert source in COMPOSE["volumes"], f"{name}: {source}"
    used = {source for name in SERVICES for source in mounts(name).values() if not source.startswith(".")}
    assert used == set(COMPOSE["volumes"])


def test_nothing_listens_beyond_this_machine() -> None:
    for name, service in SERVICES.items():
        for port in service.get("ports", ()):
            assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port), f"{name}: {port}"


def test_each_is_healthy_by_its_own_word_waits_for_that_of_others_and_starts_again() -> None:
    for name, service in SERVICES.items():
        assert "healthcheck" in service or (name == "thalweg" and "\nHEALTHCHECK " in DOCKERFILE), name
        assert service["restart"] == "unless-stopped", name
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES
            assert how == {"condition": "service_healthy"}, f"{name}: {other}"


def test_the_service_is_given_a_configuration_that_it_takes_at_the_ports_of_the_example() -> None:
    service = SERVICES["thalweg"]
    path = ROOT / mounts("thalweg")[service["command"][1]]

    config, example = load(path, service["environment"]), load(path, {})

    published = {int(port.split(":")[2]) for port in service["ports"]}
    assert {address(config.service.grpc)[1], address(config.service.http)[1]} == published
    assert address(config.service.grpc) == ("0.0.0.0", address(example.service.grpc)[1])
    assert address(config.service.http) == ("0.0.0.0", address(example.service.http)[1])
    assert config.service.state_dir in mounts("thalweg")
    for url in (config.log.url, config.store.url):
        assert address(url)[0] in service["depends_on"]
    host, port = address(config.log.url)
    assert f"PLAINTEXT://{host}:{port}" in SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert SERVICES["kafka"]["environment"]["KAFKA_LOG_DIRS"] in mounts("kafka")


def test_the_page_about_it_calls_the_model_that_it_serves() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    (section,) = re.findall(r"^## Everything together$(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    source = mounts("thalweg")[SERVICES["thalweg"]["command"][1]]

    assert set(re.findall(r"--model (\S+)", section)) == {load(ROOT / source, {}).model[0].name}
    assert set(re.findall(r"`(examples/\S+?)`", section)) == {source.removeprefix("./")}


@pytest.mark.prometheus
def test_prometheus_finds_its_rules_and_the_service(tmp_path: Path) -> None:
    for target, source in mounts("prometheus").items():  # laid out as in its container
        if source.startswith("."):
            place = tmp_path / target.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, place)
    path = tmp_path / "etc/prometheus/prometheus.yml"
    with required_or_skipped():
        promtool = binary("promtool")

    done = subprocess.run([promtool, "check", "config", path], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 rule files found" in done.stdout
    (job,) = yaml.safe_load(path.read_text())["scrape_configs"]
    ((target,),) = (entry["targets"] for entry in job["static_configs"])
    host, port = address(target)
    assert host in SERVICES
    assert address(SERVICES[host]["environment"]["THALWEG_SERVICE__HTTP"])[1] == port


def test_grafana_finds_prometheus_and_its_dashboards() -> None:
    grafana, source = SERVICES["grafana"], mounts("grafana")
    provisioned = ROOT / source["/etc/grafana/provisioning"]
    (provider,) = yaml.safe_load((provisioned / "dashboards/thalweg.yml").read_text())["providers"]
    (data,) = yaml.safe_load((provisioned / "datasources/prometheus.yml").read_text())["datasources"]

    folder = provider["options"]["path"]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])

    assert len(list((ROOT / source[folder]).glob("*.json"))) == 4
    assert str(home.parent) == folder
    assert (ROOT / source[folder] / home.name).exists()
    variable = data["url"].strip("${}")
    host, port = address(grafana["environment"][variable])
    assert host in grafana["depends_on"]
    assert any(entry.endswith(f":{port}") for entry in SERVICES[host]["ports"])


def test_grafana_is_of_the_release_that_the_dashboards_are_held_against() -> None:
    release = re.search(
        r"^grafana_foundation_sdk==\d+!(\d+\.\d+)\.", (ROOT / "ops/dev/constraints.txt").read_text(), re.M
    )

    assert release is not None
    assert SERVICES["grafana"]["image"].startswith(f"grafana/grafana:{release[1]}.")


def test_the_image_runs_as_nobody_special_and_asks_the_service_how_it_is() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    user = re.search(r"^USER (\w+)$", last, re.MULTILINE)
    script = re.search(r"^HEALTHCHECK .*/opt/thalweg/(\S+\.py)\"\]$", last, re.MULTILINE)
    exposed = re.search(r"^EXPOSE (.*)$", last, re.MULTILINE)

    assert user is not None
    assert user[1] != "root"
    assert last.index("useradd") < last.index("\nUSER ") < last.index("\nENTRYPOINT ")
    # -m 0700: what it learns from events is none of others' on its machine
    assert f"install -d -m 0700 -o {user[1]} {SERVICES['thalweg']['environment']['THALWEG_SERVICE__STATE_DIR']}" in last
    assert script is not None
    assert f"\nCOPY ops/docker/{script[1]} /opt/thalweg/\n" in last
    health = re.search(r"THALWEG_SERVICE__HTTP\", \":(\d+)\"", (ROOT / "ops" / "docker" / script[1]).read_text())
    assert health is not None
    assert exposed is not None
    assert set(exposed[1].split()) == {port.split(":")[2] for port in SERVICES["thalweg"]["ports"]}
    assert health[1] in exposed[1].split()


def test_the_image_is_built_from_files_that_there_are_its_dependencies_before_the_source() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)

    assert copied[0].split() == ["pyproject.toml", "ops/dev/constraints.txt"]
    assert all((ROOT / path).exists() for entry in copied for path in entry.split())
    assert DOCKERFILE.index(copied[0]) < DOCKERFILE.index("pip install") < DOCKERFILE.index("COPY . .")


def test_the_producer_writes_other_ids_at_each_start_and_a_file_is_the_same_each_time() -> None:
    words = SERVICES["producer"]["command"][0].partition("|")[0].split()[2:]

    def made(*options: str) -> str:
        command = [sys.executable, ROOT / "examples" / "payments.py", *options]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def ids() -> set[str]:
        return {json.loads(line)["payment_id"] for line in made(*words, "--rows", "3").splitlines()}

    first, second = ids(), ids()
    assert len(first | second) == 6
    assert made("--rows", "5") == made("--rows", "5")
    assert made("--rows", "1", "--prefix", "other").splitlines()[1].startswith("other-0,")
