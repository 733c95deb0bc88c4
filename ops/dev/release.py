"""`make release`: the distributions, their bill of materials, the audit of what they depend on, and hashes of it all.

The bill of materials has what the service and its extras are tested with: the packages of this environment that
`pip install 'thalweg[…]'` would bring, without those of `dev`. The audit asks a vulnerability service about them; what
could not be asked is said, and fails the release unless `--unaudited` says that this is known.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NOT_SHIPPED = ("dev", "gpu")
"""Extras for those who work on Thalweg; and one for machines that this one is not."""
SUMS = "SHA256SUMS"
_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?[^;]*(?:;\s*(.*))?$")


@dataclass(frozen=True, slots=True)
class Audit:
    """What a vulnerability service said."""

    vulnerable: list[str] = field(default_factory=list)
    """One line for each vulnerability."""
    unasked: list[str] = field(default_factory=list)
    """Packages about which it said nothing."""
    problem: str = ""
    """Why it said nothing at all; empty if it did."""


def normalised(name: str) -> str:
    """A package's name in the one form that compares equal."""
    return re.sub(r"[-_.]+", "-", name).lower()


def shipped(root: str = "thalweg", without: Iterable[str] = NOT_SHIPPED) -> dict[str, Distribution]:
    """The installed packages that the distribution and its extras need, by normalised name, itself left out."""
    extras = set(distribution(root).metadata.get_all("Provides-Extra") or ()) - set(without)
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(root, frozenset(extras))]
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        try:
            one = distribution(name)
        except PackageNotFoundError:  # of another platform or Python, or an extra that is not installed here
            continue
        if name != root:
            found[normalised(name)] = one
        waiting += [needed for text in one.requires or () if (needed := _needed(text, wanted)) is not None]
    return dict(sorted(found.items()))


def _needed(requirement: str, extras: frozenset[str]) -> tuple[str, frozenset[str]] | None:
    """Name and extras of a requirement; None if it is one of an extra that is not wanted."""
    found = _REQUIREMENT.match(requirement)
    if found is None:
        return None
    name, own, marker = found.groups()
    asked = re.findall(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker or "")
    if asked and not extras & set(asked):
        return None
    return normalised(name), frozenset(part.strip() for part in (own or "").split(",") if part.strip())


def reduced(bill: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """A CycloneDX bill of an environment with the components of these names alone, and what depends on what of them."""
    kept = [one for one in bill.get("components", []) if normalised(one["name"]) in set(names)]
    refs = {one["bom-ref"] for one in kept} | {bill.get("metadata", {}).get("component", {}).get("bom-ref")}
    graph = [
        {**one, "dependsOn": depends}
        if (depends := [ref for ref in one.get("dependsOn", []) if ref in refs])
        else {"ref": one["ref"]}
        for one in bill.get("dependencies", [])
        if one["ref"] in refs
    ]
    return {**bill, "components": kept, "dependencies": graph}


def read_audit(output: str, code: int, problem: str) -> Audit:
    """What pip-audit said in its JSON format. `code`: its exit code; `problem`: what it said beside."""
    try:
        said = json.loads(output)["dependencies"]
    except (ValueError, LookupError, TypeError):
        lines = [line for line in problem.strip().splitlines() if line.strip()]
        return Audit(problem=(lines[-1].strip() if lines else f"exit code {code}")[:300])
    vulnerable = [
        f"{one['name']} {one['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'no release'}"
        for one in said
        for flaw in one.get("vulns", ())
    ]
    return Audit(vulnerable, [one["name"] for one in said if "skip_reason" in one])


def sums(folder: Path) -> str:
    """SHA-256 of each file of a folder, as `sha256sum --check` reads them."""
    paths = sorted(path for path in folder.iterdir() if path.is_file() and path.name != SUMS)
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in paths)


def verdict(audit: Audit, count: int, *, unaudited: bool) -> tuple[list[str], int]:
    """What to say about an audit of so many packages, and the exit code."""
    if audit.vulnerable:
        return [f"vulnerable: {line}" for line in audit.vulnerable], 1
    if audit.problem or audit.unasked:
        named = ", ".join(audit.unasked[:5]) + ", …" * (len(audit.unasked) > 5)
        what = audit.problem or f"{len(audit.unasked)} of {count} packages are unknown to the service: {named}"
        line = f"not audited: {what}"
        return [line if unaudited else f"{line}; UNAUDITED=1 releases all the same"], 0 if unaudited else 1
    return [f"audited: {count} packages, no known vulnerabilities"], 0


def main(arguments: list[str]) -> int:
    """Make a release in `dist/`; the exit code."""
    parser = argparse.ArgumentParser(prog="make release")
    parser.add_argument("--tools", type=Path, required=True, help="folder with cyclonedx-py and pip-audit")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--unaudited", action="store_true", help="release also what could not be audited")
    given = parser.parse_args(arguments)
    given.out, given.tools = given.out.absolute(), given.tools.absolute()
    given.out.mkdir(exist_ok=True)
    for path in given.out.iterdir():
        path.unlink()
    environment = {**os.environ, "SOURCE_DATE_EPOCH": _said("git", "log", "-1", "--format=%ct").strip() or "0"}
    if changed := _said("git", "status", "--porcelain").strip():
        print(f"the tree has changes that are in no commit: {changed.splitlines()[0].strip()}, …")
    _run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(given.out), str(ROOT)], environment)
    packages = shipped()
    _bill(given.tools, given.out / f"thalweg-{distribution('thalweg').version}.cdx.json", packages, environment)
    lines, code = verdict(_audited(given.tools, packages, given.out), len(packages), unaudited=given.unaudited)
    (given.out / "audit.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (given.out / SUMS).write_text(sums(given.out), encoding="utf-8")
    print((given.out / SUMS).read_text(encoding="utf-8"), end="")
    print("\n".join(lines))
    return code


def _bill(tools: Path, path: Path, packages: Mapping[str, Distribution], environment: Mapping[str, str]) -> None:
    """Write the bill of materials."""
    command = [str(tools / "cyclonedx-py"), "environment", sys.executable, "--pyproject", str(ROOT / "pyproject.toml")]
    _run([*command, "--output-reproducible", "--of", "JSON", "-o", str(path)], environment)
    path.write_text(
        json.dumps(reduced(json.loads(path.read_text(encoding="utf-8")), packages), indent=2) + "\n", encoding="utf-8"
    )


def _audited(tools: Path, packages: Mapping[str, Distribution], out: Path) -> Audit:
    requirements = out / "requirements.txt"
    requirements.write_text("".join(f"{name}=={one.version}\n" for name, one in packages.items()), encoding="utf-8")
    done = subprocess.run(
        [
            *(str(tools / "pip-audit"), "-r", str(requirements), "--no-deps", "--disable-pip"),
            *("--format", "json", "--progress-spinner", "off"),
        ],
        capture_output=True,
        text=True,
        cwd=out,
        check=False,
    )
    return read_audit(done.stdout, done.returncode, done.stderr)


def _run(command: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env=dict(environment), cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(f"{Path(command[0]).name} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
