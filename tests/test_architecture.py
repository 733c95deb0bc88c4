"""The folders are the architecture: who may import whom, how full a room may be, and where an outside library lives."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = ["ops", "stream", "models", "memory", "proto"]  # who may import whom: only rightwards
MOST_FILES = 15
ONE_HOME = {
    "faiss": {"memory/vectors/key_tables.py"},
    "kafka": {
        "stream/log/kafka.py",
        *(
            f"stream/log/kafka_client/{name}.py"
            for name in ("batches", "clients", "consumer", "errors", "limits", "member", "producer", "sockets")
        ),
    },
    "confluent_kafka": {
        f"stream/log/confluent_client/{name}.py"
        for name in ("clients", "cluster", "consumer", "errors", "member", "producer", "properties")
    },
    "opentelemetry": {"ops/traces/exporting.py"},
    "redis": {"memory/exchange/redis_client.py"},
    "prometheus_client": {
        *(f"ops/telemetry/{name}metrics.py" for name in ("", "learner_", "report_", "server_")),
        "ops/telemetry/freshness.py",
        "ops/telemetry/learner_gauges.py",
    },
    "river": {
        "stream/drift/methods/river.py",  # its drift detectors
        *(f"models/adapters/{name}.py" for name in ("river_fixes", "river_kinds")),  # its estimators
    },
}
FILES = [path for folder in ORDER for path in sorted((ROOT / folder).rglob("*.py")) if "_pb2" not in path.name]
ROOMS = sorted({path.parent for path in FILES})


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the direction of dependencies"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def files_imported(path: Path) -> set[str]:
    """Files of ours that a file imports, at its head or within a function."""
    found = set()
    for name in imported(path):
        parts = name.split(".")[1:] if name.startswith("thalweg.") else []
        while parts and not (ROOT / Path(*parts)).with_suffix(".py").is_file():
            parts = parts[:-1]
        if parts:
            found.add(str(Path(*parts).with_suffix(".py")))
    return found - {named(path)}


def circles(imports: dict[str, set[str]]) -> Iterator[list[str]]:
    """One circle for each file that is met again on a walk along the imports."""
    finished: set[str] = set()

    def walk(file: str, way: list[str]) -> Iterator[list[str]]:
        if file in way:
            yield [*way[way.index(file) :], file]
        elif file not in finished:
            for following in sorted(imports.get(file, ())):
                yield from walk(following, [*way, file])
            finished.add(file)

    for file in sorted(imports):
        yield from walk(file, [])


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_file_imports_only_its_own_folder_and_those_to_the_right(path: Path) -> None:
    folder = path.relative_to(ROOT).parts[0]

    folders = {name.split(".")[1] for name in imported(path) if name.startswith("thalweg.")}

    assert folders <= set(ORDER[ORDER.index(folder) :])


def test_no_files_import_each_other_in_a_circle() -> None:
    found = [" -> ".join(circle) for circle in circles({named(path): files_imported(path) for path in FILES})]

    assert not found, "\n".join(found)


def test_a_circle_of_files_would_be_found() -> None:
    assert list(circles({"a.py": {"b.py"}, "b.py": {"c.py"}, "c.py": {"b.py"}})) == [["b.py", "c.py", "b.py"]]


@pytest.mark.parametrize("room", ROOMS, ids=named)
def test_a_folder_holds_at_most_fifteen_files(room: Path) -> None:
    files = [path.name for path in FILES if path.parent == room and path.name != "__init__.py"]

    assert len(files) <= MOST_FILES, f"{named(room)} holds {len(files)} files: split it by what they are for"


@pytest.mark.parametrize("room", ROOMS, ids=named)
def test_a_folder_says_what_it_is_for(room: Path) -> None:
    assert ast.get_docstring(ast.parse((room / "__init__.py").read_text()))


@pytest.mark.parametrize("path", FILES, ids=named)
def test_an_outside_library_has_one_home(path: Path) -> None:
    for library in {name.split(".")[0] for name in imported(path)} & set(ONE_HOME):
        assert named(path) in ONE_HOME[library], f"{library} is imported outside {ONE_HOME[library]}"


@pytest.mark.parametrize("path", FILES, ids=named)
def test_no_text_is_read_or_written_in_the_encoding_of_the_locale(path: Path) -> None:
    """What one host has written, another reads, whatever its locale is."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    texts = [
        call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr in ("read_text", "write_text")
    ]

    assert not [call.lineno for call in texts if "encoding" not in {one.arg for one in call.keywords}]
