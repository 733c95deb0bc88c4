"""Rules for Prometheus: its own tool accepts and tests them, and each alert says what it means and where to read on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.models.learners import gauges_of_learners
from tests.services.processes import required_or_skipped
from tests.services.prometheus import binary
from thalweg.ops.telemetry.metrics import COLLECTED, LEARNER_METRICS, SERVER_METRICS

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "ops" / "prometheus"
TESTS = sorted((ROOT / "tests" / "ops" / "deploy" / "rules").glob("*.yml"))
RULES: list[dict[str, Any]] = [
    rule
    for path in sorted((FOLDER / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = [rule for rule in RULES if "record" in rule]
BY_NAME = {rule["alert"] + rule["labels"].get("window", ""): rule for rule in ALERTS}


def promtool(*arguments: str | Path) -> str:
    with required_or_skipped():
        tool = binary("promtool")
    done = subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.prometheus
def test_promtool_accepts_the_configuration_and_finds_every_rule() -> None:
    said = promtool("check", "config", FOLDER / "prometheus.yml")

    assert sum(map(int, re.findall(r"(\d+) rules found", said))) == len(RULES)


@pytest.mark.prometheus
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_rules_tell_what_they_should_and_nothing_else(path: Path) -> None:
    promtool("test", "rules", path)


def test_every_alert_is_seen_told_and_not_told_and_every_recorded_figure_is_checked() -> None:
    cases = [case for path in TESTS for case in yaml.safe_load(path.read_text())["tests"]]
    told, silent, checked = set(), set(), ""
    for case in cases:
        for check in case.get("alert_rule_test", ()):
            windows = [alert["exp_labels"].get("window", "") for alert in check["exp_alerts"]]
            told |= {check["alertname"] + window for window in windows}
            if not windows:
                silent.add(check["alertname"])
        checked += " ".join(check["expr"] for check in case.get("promql_expr_test", ())) + " "

    assert told == set(BY_NAME)
    assert silent == {rule["alert"] for rule in ALERTS}
    for rule in RECORDED:
        assert re.search(re.escape(rule["record"]) + r"(?![\w:])", checked), rule["record"]


@pytest.mark.parametrize("name", BY_NAME)
def test_an_alert_says_how_grave_it_is_what_it_found_and_where_to_read_on(name: str) -> None:
    rule = BY_NAME[name]
    sections = {
        title.lower(): text
        for title, text in re.findall(
            r"^## (\w+)\n(.*?)(?=^## |\Z)", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE | re.DOTALL
        )
    }

    page, _, anchor = rule["annotations"]["runbook"].partition("#")

    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    assert "$labels" in rule["annotations"]["summary"] + rule["annotations"]["description"]
    assert page == "docs/runbook.md"
    assert anchor == rule["alert"].lower()
    for part in ("- Look at:", "- Do:", "- Resolves"):
        assert part in sections[anchor], f"{rule['alert']}: no {part!r}"


def test_the_runbook_has_no_section_of_an_alert_that_is_no_more() -> None:
    titles = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)

    assert sorted(titles) == sorted({rule["alert"] for rule in ALERTS})


def test_rules_ask_only_for_metrics_that_there_are() -> None:
    known = {*LEARNER_METRICS, *SERVER_METRICS, *COLLECTED, *(spec.full_name for spec in gauges_of_learners()), "up"}
    known |= {rule["record"] for rule in RECORDED}
    asked = {name for rule in RULES for name in re.findall(r"\b(?:thalweg|kafka|grpc)[\w:]+", str(rule["expr"]))}

    for name in asked - {"thalweg_"}:  # the beginning of a pattern of names
        assert re.sub(r"_(bucket|count|sum)$", "", name) in known or name in known, name


def test_the_list_of_alerts_in_the_documentation_is_that_of_the_rules() -> None:
    rows = re.findall(
        r"^\| \[(\w+)\]\(runbook.md#\w+\) \| ([\w, ]+) \|", (ROOT / "docs" / "monitoring.md").read_text(), re.M
    )

    assert {name: set(graveness.split(", ")) for name, graveness in rows} == {
        rule["alert"]: {other["labels"]["severity"] for other in ALERTS if other["alert"] == rule["alert"]}
        for rule in ALERTS
    }
