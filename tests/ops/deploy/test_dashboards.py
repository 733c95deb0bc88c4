"""Grafana's dashboards are dashboards to Grafana's own model of them, and are where its provisioning looks."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.runtime import Runtime

from tests.models.learners import gauges_of_learners
from tests.ops.telemetry.grafana_schema import mistakes
from thalweg.ops.dev.dashboards.__main__ import written
from thalweg.ops.telemetry.metrics import COLLECTED, LEARNER_METRICS, SERVER_METRICS

ROOT = Path(__file__).parents[3]
GRAFANA = ROOT / "ops" / "grafana"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}


def panels(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def expressions(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Where each expression stands, and what it is."""
    for panel in panels(document):
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for mark in document["annotations"]["list"]:
        yield f"annotation {mark['name']}", mark["expr"]


def test_the_files_are_what_make_dashboards_writes() -> None:
    assert {f"{name}.json": document for name, document in DASHBOARDS.items()} == {
        name: json.loads(text) for name, text in written().items()
    }


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_one_to_grafanas_own_model(name: str) -> None:
    assert mistakes(DASHBOARDS[name]) == []
    assert {panel["type"] for panel in panels(DASHBOARDS[name])} <= set(Runtime().panelcfg_variants)


def set_to(value: Any, *path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        inner: Any = document
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (set_to("yes", "editable"), "editable: expected bool"),
        (set_to(1, "tittle"), "tittle: no such key"),
        (set_to(7, "graphTooltip"), "graph_tooltip: expected one of"),
        (set_to("wide", "panels", 1, "gridPos", "w"), "expected int, got 'wide'"),
        (set_to("red", "panels", 1, "options", "colorMode"), "expected one of ['value'"),
        (set_to(True, "panels", 1, "options", "sparkle"), "sparkle: no such key"),
        (set_to(3, "panels", 1, "targets", 0, "expr"), "expected str, got 3"),
        (set_to("up", "panels", 1, "targets", 0, "query"), "query: no such key"),
        (set_to("sometimes", "templating", "list", 1, "refresh"), "expected one of"),
        (set_to("now", "time"), "time: 'now' became"),
    ],
)
def test_the_check_sees_what_is_wrong(change: Callable[[dict[str, Any]], None], said: str) -> None:
    document = copy.deepcopy(DASHBOARDS["overview"])
    change(document)

    assert said in "\n".join(mistakes(document))


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_have_names_and_places_of_their_own(name: str) -> None:
    document = DASHBOARDS[name]
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells

    numbers = [panel["id"] for panel in document["panels"]]
    assert len(numbers) == len(set(numbers))
    assert len({panel["title"] for panel in panels(document)}) == len(panels(document))
    assert all(panel["description"] and panel["targets"] for panel in panels(document))


@pytest.mark.parametrize("name", DASHBOARDS)
def test_expressions_ask_for_metrics_that_there_are_through_the_chosen_data_source(name: str) -> None:
    recorded = {
        rule["record"]
        for group in yaml.safe_load((ROOT / "ops/prometheus/rules/recording.yml").read_text())["groups"]
        for rule in group["rules"]
    }
    known = {
        *LEARNER_METRICS,
        *SERVER_METRICS,
        *COLLECTED,
        *(spec.full_name for spec in gauges_of_learners()),
        *recorded,
    }
    known |= {"thalweg_", "thalweg"}  # the beginnings of a pattern of names, and of consumer groups

    for where, expr in expressions(DASHBOARDS[name]):
        asked = re.findall(r"\b(?:thalweg|kafka|grpc_server|process)[\w:]*", expr)
        for metric in asked:
            assert re.sub(r"_(bucket|count|sum)$", "", metric) in known or metric in known, f"{where}: {metric}"
        assert asked or "ALERTS" in expr or "up{" in expr, f"{where}: {expr}"
    for part in (*panels(DASHBOARDS[name]), *DASHBOARDS[name]["annotations"]["list"]):
        assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    variables = {variable["name"]: variable for variable in DASHBOARDS[name]["templating"]["list"]}
    assert variables["datasource"]["query"] == "prometheus"
    assert "label_values" in variables["model"]["query"]["query"]


def test_provisioning_names_the_data_source_and_the_folder_of_the_dashboards() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/thalweg.yml").read_text())["providers"]

    assert (source["type"], source["url"]) == ("prometheus", "${THALWEG_PROMETHEUS_URL}")
    assert provider["options"]["path"] == "/etc/grafana/dashboards"
    assert set(DASHBOARDS) == {"overview", "model", "service", "ingest"}
