"""What manifests say of the software that a state was learned with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from thalweg.memory.snapshots.manifest import Earlier, Manifest
from thalweg.memory.snapshots.origin import MOST_KEPT, Origin, code_of, differences, learned_with, software

MANIFEST = Manifest(
    model="m", version=1, parent=None, learner="l", config_sha256="", offsets={}, events_learned=1, created=0.0
)


def gone_on(software: list[dict[str, str]]) -> Manifest:
    """A state that went on under each software in turn, five versions under each."""
    manifest = replace(MANIFEST, version=5, software=software[0])
    for now in software[1:]:
        origin = Origin.of(manifest, "", now)
        manifest = replace(
            manifest, version=manifest.version + 5, software=origin.software("", now), earlier=origin.earlier
        )
    return Manifest.from_json(manifest.to_json())


def test_the_software_of_a_process_names_versions_code_and_kernels() -> None:
    found = software()

    assert {"python", "thalweg", "code", "numpy", "scipy", "blas", "processor"} <= found.keys()
    assert all(found.values())
    assert differences(found, software()) == {}


def test_a_changed_source_and_a_moved_one_change_the_code(tmp_path: Path) -> None:
    (tmp_path / "models" / "ridge").mkdir(parents=True)
    file = tmp_path / "models" / "ridge" / "learner.py"
    file.write_text("rate = 1\n")
    first = code_of([tmp_path / "models"])
    (tmp_path / "models" / "notes.md").write_text("nothing is learned from this")
    assert code_of([tmp_path / "models"]) == first

    file.write_text("rate = 2\n")
    changed = code_of([tmp_path / "models"])
    file.rename(tmp_path / "models" / "learner.py")

    assert len({first, changed, code_of([tmp_path / "models"])}) == 3
    assert code_of([tmp_path / "nowhere"]) == ""


def test_a_state_of_before_codes_were_recorded_may_be_of_any_of_that_version() -> None:
    now = {"thalweg": "0.1.0", "code": "bb", "numpy": "2.4"}

    assert differences({"thalweg": "0.1.0", "numpy": "2.4"}, now) == {
        "thalweg": ("0.1.0 (code not recorded)", "0.1.0 (code bb)")
    }
    assert differences({"numpy": "2.3", "torch": "2.10", **now}, now) == {}
    assert differences({}, now) == {}  # a state of this process: nothing is recorded in it yet


def test_a_state_keeps_what_it_was_learned_with_before_and_up_to_which_version() -> None:
    old, new = {"thalweg": "1", "code": "a"}, {"thalweg": "1", "code": "b"}
    manifest = gone_on([old, old, new, new])
    assert manifest.earlier == (Earlier(10, old),)

    unlike = {"thalweg": ("1 (code a)", "1 (code b)")}
    assert learned_with(manifest, 0, new) == [(10, unlike)]
    assert learned_with(manifest, 9, new) == [(10, unlike)]
    assert learned_with(manifest, 10, new) == []  # rebuilt from a snapshot of after the change
    assert learned_with(manifest, 0, old) == [(20, {"thalweg": ("1 (code b)", "1 (code a)")})]


def test_of_many_kinds_of_software_the_newest_are_kept() -> None:
    manifest = gone_on([{"numpy": str(number)} for number in range(3 * MOST_KEPT)])

    assert len(manifest.earlier) == MOST_KEPT
    assert manifest.earlier[-1].software == {"numpy": str(3 * MOST_KEPT - 2)}
    assert learned_with(manifest, 0, {"numpy": "0"})[0][1] == {"numpy": (str(2 * MOST_KEPT - 1), "0")}
