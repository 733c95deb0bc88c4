"""`make release`: what is in it is what is said of it, and what was not audited is not passed over."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.services.building import building
from thalweg.ops.dev.release import NOT_SHIPPED, Audit, read_audit, reduced, shipped, sums, verdict

ROOT = Path(__file__).parents[3]


def test_what_is_shipped_is_what_the_service_and_its_extras_need_and_no_tool_of_ours() -> None:
    found = shipped()

    assert {"grpcio", "numpy", "protobuf", "pydantic-core", "anyio", "scikit-learn"} <= set(found)
    assert not {"pytest", "mypy", "ruff", "hypothesis", "thalweg"} & set(found)


def test_without_an_extra_its_packages_are_not_in_it() -> None:
    assert "scikit-learn" in shipped()
    assert "matplotlib" in shipped()
    assert "matplotlib" not in shipped(without=(*NOT_SHIPPED, "report"))


def test_a_bill_is_reduced_to_what_is_shipped_and_its_graph_has_no_loose_ends() -> None:
    bill: dict[str, Any] = {
        "metadata": {"component": {"bom-ref": "root"}},
        "components": [{"name": name, "bom-ref": name} for name in ("NumPy", "scipy", "pytest")],
        "dependencies": [
            {"ref": "root", "dependsOn": ["NumPy", "pytest"]},
            {"ref": "scipy", "dependsOn": ["NumPy"]},
            {"ref": "NumPy"},
            {"ref": "pytest", "dependsOn": ["NumPy"]},
        ],
    }

    found = reduced(bill, ["numpy", "scipy"])

    assert [one["name"] for one in found["components"]] == ["NumPy", "scipy"]
    assert found["dependencies"] == [
        {"ref": "root", "dependsOn": ["NumPy"]},
        {"ref": "scipy", "dependsOn": ["NumPy"]},
        {"ref": "NumPy"},
    ]


def test_the_sums_are_what_the_usual_tool_checks(tmp_path: Path) -> None:
    (tmp_path / "b.whl").write_bytes(b"two")
    (tmp_path / "a.tar.gz").write_bytes(b"one")
    (tmp_path / "SHA256SUMS").write_text(sums(tmp_path))

    assert (tmp_path / "SHA256SUMS").read_text().startswith(hashlib.sha256(b"one").hexdigest() + "  a.tar.gz\n")
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path, check=True, capture_output=True)


SOUND = {"name": "numpy", "version": "2.0", "vulns": []}
FLAWED = {"name": "old", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}]}
UNKNOWN = {"name": "ours", "skip_reason": "Dependency not found and could not be audited: ours (1.0)"}


@pytest.mark.parametrize(
    ("said", "line", "code"),
    [
        ([SOUND], "audited: 1 packages, no known vulnerabilities", 0),
        ([SOUND, FLAWED], "vulnerable: old 1.0: CVE-1, fixed in 1.1", 1),
        ([SOUND, UNKNOWN], "not audited: 1 of 2 packages are unknown to the service: ours", 1),
    ],
)
def test_what_the_service_says_decides(said: list[dict[str, Any]], line: str, code: int) -> None:
    audit = read_audit(json.dumps({"dependencies": said, "fixes": []}), 0, "")

    lines, found = verdict(audit, len(said), unaudited=False)

    assert lines[0].startswith(line)
    assert found == code


def test_a_service_that_is_away_is_one_line_and_no_pass() -> None:
    audit = read_audit("", 1, "Traceback …\n  File …\nConnectionError: Failed to resolve a host\n\n")

    lines, code = verdict(audit, 100, unaudited=False)

    assert lines == ["not audited: ConnectionError: Failed to resolve a host; UNAUDITED=1 releases all the same"]
    assert code == 1


def test_who_knows_that_it_is_not_audited_may_release_it_and_never_what_is_vulnerable() -> None:
    assert verdict(Audit(problem="no network"), 9, unaudited=True) == (["not audited: no network"], 0)
    assert verdict(Audit(vulnerable=["old 1.0: CVE-1"]), 9, unaudited=True)[1] == 1


@pytest.mark.slow(20)
def test_a_release_has_both_distributions_a_bill_an_audit_and_sums(tmp_path: Path) -> None:
    """The tools of the bill and the audit are scripts here that print what the real ones print."""
    tools, out = tmp_path / "tools", tmp_path / "out"
    tools.mkdir()
    bill = {
        "bomFormat": "CycloneDX",
        "components": [{"name": "numpy", "bom-ref": "n"}, {"name": "pytest", "bom-ref": "p"}],
    }
    for name, body in {
        "cyclonedx-py": f"import sys; open(sys.argv[sys.argv.index('-o') + 1], 'w').write({json.dumps(bill)!r})",
        "pip-audit": f"print({json.dumps({'dependencies': [SOUND]})!r})",
    }.items():
        (tools / name).write_text(f"#!{sys.executable}\n{body}\n")
        (tools / name).chmod(0o755)

    command = [sys.executable, "-m", "thalweg.ops.dev.release", "--tools", str(tools), "--out", str(out)]
    with building():
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    names = {path.name for path in out.iterdir()}
    assert len({name for name in names if name.endswith((".whl", ".tar.gz"))}) == 2
    (made,) = out.glob("*.cdx.json")
    assert [one["name"] for one in json.loads(made.read_text())["components"]] == ["numpy"]
    listed = {line.partition("  ")[2] for line in (out / "SHA256SUMS").read_text().splitlines()}
    assert listed == names - {"SHA256SUMS"}
    assert "no known vulnerabilities" in (out / "audit.txt").read_text()
