from pathlib import Path

from tests.ops.simulate.test_disk import Plan
from thalweg.memory.files import make_folder, write_durably
from thalweg.ops.simulate.disk import FaultyDisk


def test_a_folder_survives_a_power_cut_also_if_a_dead_process_has_created_it(tmp_path: Path) -> None:
    for seed in range(10):
        base = tmp_path / str(seed)
        base.mkdir()
        disk = FaultyDisk(base, Plan(seed))
        with disk.in_force():
            (base / "a" / "b").mkdir(parents=True)  # and dies before it flushes anything
            make_folder(base / "a" / "b" / "c")
            write_durably(base / "a" / "b" / "c" / "file", b"content")
            make_folder(base / "a" / "b" / "c" / "d")
        disk.power_cut()

        assert (base / "a" / "b" / "c" / "file").read_bytes() == b"content"
