"""Proves the code of GPUs on one, and measures it: `make gpu`, or `python -m benchmarks.gpu`. At most eight minutes.

It needs a torch that sees a GPU, and the few packages below; it fetches those that are missing if it can. Golden arrays
are looked for in the folder of THALWEG_SHARED. What it prints at the end is for docs/gpu.md.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import signal  # noqa: E402 - the environment comes first
import subprocess  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from importlib.util import find_spec  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

ROOT = Path(__file__).parents[2]
FETCHED = ROOT / ".cache" / "gpu"
"""Where packages are put that are missing."""
NEEDED = {
    "numpy": "numpy",
    "scipy": "scipy",
    "pydantic": "pydantic",
    "structlog": "structlog",
    "safetensors": "safetensors",
    "crc32c": "crc32c",
    "pytest": "pytest",
    "hypothesis": "hypothesis",
    "faiss": "faiss-cpu",
    "msgspec": "msgspec",
}
"""Import names of what learners and their tests need, and the packages that have them."""
STAGES = {"tests": 100, "recovery": 50, "search": 50, "learners": 85, "answers": 100, "service": 90}
"""With the most seconds that each may take: less than eight minutes together."""
_BATTERY = ("tests/models/devices", "tests/memory/vectors/test_resident.py", "tests/memory/devices")


def failed(text: str) -> int:
    """Say why in one line."""
    print(f"make gpu: {text}", file=sys.stderr)
    return 1


def main(arguments: list[str]) -> int:
    """Run all stages, or the one that is named."""
    from benchmarks.gpu.stand_in import STAND_IN

    tiny = bool(os.environ.get(STAND_IN))
    sys.path.insert(0, str(FETCHED))
    if arguments:
        return stage(arguments[0], tiny=tiny)
    if find_spec("torch") is None:
        return failed("torch is not installed; it needs one that is built for CUDA, and a GPU")
    from thalweg.memory.devices.names import unavailable

    if not tiny and (why := unavailable("cuda")):
        return failed(why)
    if missing := [package for name, package in NEEDED.items() if find_spec(name) is None]:
        fetch = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(FETCHED), *missing]
        fetch += ["--constraint", str(ROOT / "ops/dev/constraints.txt")]
        if subprocess.run(fetch, capture_output=True, check=False).returncode:
            where = FETCHED.relative_to(ROOT)
            return failed(
                f"packages are missing and cannot be fetched: {', '.join(missing)}; without a network, bring them in "
                f"{where}: pip install --target {where} {' '.join(missing)}"
            )
    print(heading(), flush=True)
    bad = 0
    for name, limit in STAGES.items():
        bad += run(name, limit)
    return 1 if bad else 0


def heading() -> str:
    """What this machine is."""
    import torch

    if not torch.cuda.is_available():
        return f"no GPU: what stands in for one, torch {torch.__version__}"
    found = torch.cuda.get_device_properties(0)
    driver = subprocess.run(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    return (
        f"{found.name}, {found.total_memory >> 20:,} MiB, driver {driver[0] if driver else 'unknown'}, "
        f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, torch {torch.__version__}, "
        f"Python {sys.version.split()[0]}, {os.cpu_count()} CPUs (one thread used), {time.strftime('%Y-%m-%d')}"
    )


def run(name: str, limit: float) -> int:
    """Run a stage in a process of its own, show what it prints, and count 1 if it fails or takes too long."""
    started = time.monotonic()
    print(f"\n## {name}\n", flush=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(FETCHED)])}
    command = [sys.executable, "-m", "benchmarks.gpu", name]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    try:
        code = process.wait(limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with the processes that it started
        process.wait()
        print(f"not finished after {limit:.0f} s", flush=True)
        return 1
    print(f"\n{'done' if code == 0 else f'FAILED, exit code {code}'} in {time.monotonic() - started:.0f} s", flush=True)
    return int(code != 0)


def stage(name: str, *, tiny: bool) -> int:
    """One of the stages."""
    if name == "tests":
        return tests(tiny=tiny)
    from benchmarks.gpu.sizes import sizes
    from benchmarks.gpu.stand_in import gpu_or_stand_in

    with gpu_or_stand_in():
        if name == "recovery":
            from benchmarks.gpu import recovery

            same = recovery.run()
            table(("killed and gone on", "same state"), [(what, "yes" if one else "NO") for what, one in same.items()])
            return int(not all(same.values()))
        if name == "service":
            return service()
        if name == "answers":
            from benchmarks.gpu import answers

            heads = ("answers of cotta to one picture", "p50 ms", "p99 ms", "beside it, a second")
            found = answers.rows(sizes(tiny=tiny))
            table(heads, ((one.what, number(one.p50_ms), number(one.p99_ms), one.beside) for one in found))
            return 0
        from benchmarks.gpu import learners, search

        measured = (learners if name == "learners" else search).rows(sizes(tiny=tiny))
        table(
            ("", "GPU ms", "one CPU thread ms", "times", "copies to + back"),
            (
                (
                    one.what,
                    number(one.gpu_ms),
                    number(one.processor_ms),
                    number(one.processor_ms / one.gpu_ms),
                    one.copies,
                )
                for one in measured
            ),
        )
    return 0


def service() -> int:
    """The service by its command line, with all models on the GPU."""
    from benchmarks.gpu import service as whole

    if missing := whole.missing():
        print(f"not run: the service needs {', '.join(missing)}, which are not installed here")
        return 0
    table(("the service, by its command line", "seen"), whole.rows(2000))
    return 0


def tests(*, tiny: bool) -> int:
    """The battery, the golden arrays and the bounds of copies, on the GPU."""
    import pytest

    if not tiny:
        os.environ["THALWEG_GPU"] = "1"
    options = ["-c", os.devnull, "--rootdir", str(ROOT), "--noconftest", "-p", "no:cacheprovider", "-q", "-W", "ignore"]
    if find_spec("xdist") and not tiny:
        options += ["-n", "6"]
    chosen = ["tests/memory/devices/test_history.py"] if tiny else list(_BATTERY)
    return int(pytest.main([*options, *(str(ROOT / one) for one in chosen)]))


def table(heads: tuple[str, ...], rows: Any) -> None:
    """Rows of Markdown, each as soon as it is there."""
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads), flush=True)
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def number(value: float) -> str:
    """Three digits; a dash for what was not measured."""
    if value != value:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
