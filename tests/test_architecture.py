"""The folders are the architecture: a file imports from its own folder or from folders to the right."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = ["ops", "stream", "models", "memory", "proto"]  # who may import whom: only rightwards
ONE_HOME = {
    "faiss": {"memory/vectors/key_tables.py"},
    "kafka": {"stream/log/kafka.py", "stream/log/kafka_records.py"},
    "redis": {"memory/exchange/redis_pending.py", "memory/exchange/redis_commands.py"},
    "prometheus_client": {"ops/telemetry/metrics.py", "ops/telemetry/learner_metrics.py", "ops/telemetry/server_metrics.py"},
    "river": {"stream/drift/detectors.py"},
}
FILES = [path for folder in ORDER for path in sorted((ROOT / folder).rglob("*.py")) if "_pb2" not in path.name]


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the direction of dependencies"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_its_own_folder_and_those_to_the_right(path: Path) -> None:
    folder = path.relative_to(ROOT).parts[0]

    folders = {name.split(".")[1] for name in imported(path) if name.startswith("thalweg.")}

    assert folders <= set(ORDER[ORDER.index(folder) :])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_outside_library_has_one_home(path: Path) -> None:
    here = str(path.relative_to(ROOT))

    for library in {name.split(".")[0] for name in imported(path)} & set(ONE_HOME):
        assert here in ONE_HOME[library], f"{library} is imported outside {ONE_HOME[library]}"
