"""The command line as a user meets it: what it prints, and its exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.ops.running import WAIT, service, until
from tests.services import warm
from thalweg.proto.decode import Decoder
from thalweg.proto.records import Partition
from thalweg.proto.schema import Schema, TensorSpec
from thalweg.stream.log.sqlite import SqliteLog

pytestmark = pytest.mark.slow

CONFIG = """
[log]
url = "sqlite:{folder}/log.db"
[store]
url = "sqlite:{folder}/store.db"
[service]
state_dir = "{folder}/state"
[[model]]
name = "m"
learner = "ridge"
topic = "m.events"
batch_events = 10
inputs.x = {{ shape = [2] }}
[model.params]
expansion = 8
"""


def thalweg(*arguments: str, given: str = "", folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return warm.run(*arguments, given=given, timeout=WAIT, cwd=folder, env={**os.environ, "COLUMNS": "200"})


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "thalweg.toml"
    path.write_text(CONFIG.format(folder=tmp_path))
    return str(path)


@pytest.fixture
def stream(tmp_path: Path) -> str:
    """Two classes whose boundary turns half way."""
    random = np.random.default_rng(0)
    lines = ["a,b,label"]
    for row in range(1000):
        a, b = random.normal(size=2)
        lines.append(f"{a:.4f},{b:.4f},{'up' if (a if row < 500 else -a) > 0 else 'down'}")
    path = tmp_path / "stream.csv"
    path.write_text("\n".join([*lines, "x,y,z"]) + "\n")
    return str(path)


@pytest.mark.parametrize(
    "verb",
    [[], ["serve"], ["replay"], ["produce"], ["predict"], ["check"], ["schema"], ["snapshot"], ["simulate"], ["demo"]],
)
def test_every_verb_has_help(verb: list[str]) -> None:
    done = thalweg(*verb, "--help")

    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_check_prints_what_is_in_effect_or_every_mistake(config: str, tmp_path: Path) -> None:
    good = thalweg("check", config)
    assert (good.returncode, tomllib.loads(good.stdout)["model"][0]["batch_events"]) == (0, 10)
    Path(config).write_text(
        Path(config).read_text().replace("batch_events", "batch_evnts").replace("expansion", "expanson")
    )

    bad = thalweg("check", config)

    assert bad.returncode == 2
    assert "model.m.batch_evnts: no such key; did you mean batch_events?" in bad.stderr
    assert "Traceback" not in bad.stderr


def test_schema_prints_a_json_schema() -> None:
    done = thalweg("schema")

    assert (done.returncode, json.loads(done.stdout)["$schema"]) == (0, "https://json-schema.org/draft/2020-12/schema")


def test_wrong_usage_is_exit_code_2_and_a_missing_file_1(config: str) -> None:
    assert thalweg("replay", config).returncode == 2
    assert thalweg("dance").returncode == 2
    missing = thalweg("replay", config, "--model", "m", "--input", "none.csv")
    assert (missing.returncode, "none.csv" in missing.stderr, "Traceback" in missing.stderr) == (1, True, False)
    unknown = thalweg("replay", config, "--model", "x", "--input", "none.csv")
    assert (unknown.returncode, unknown.stderr.strip()) == (2, "no model is called 'x'; known: m")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,label\n", "no row could be used: 0 rows were read"),
        ("a,b,label\nx,1,u\n", "no row could be used: 1 row was read; line 2: wrong_dtype"),
        ("a,b,label\nx,1,u\n1,2\n", "no row could be used: 2 rows were read; line 2: wrong_dtype"),
    ],
)
def test_a_replay_in_which_no_row_could_be_used_fails(config: str, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "useless.csv"
    path.write_text(text)

    done = thalweg("replay", config, "--model", "m", "--input", str(path))

    assert (done.returncode, done.stdout) == (1, "")
    assert f"error: {path}: {message}" in done.stderr


def test_replay_reports_the_same_state_for_the_same_file(config: str, stream: str, tmp_path: Path) -> None:
    arguments = ("replay", config, "--model", "m", "--input", stream, "--report", str(tmp_path / "report"))

    first, second = thalweg(*arguments), thalweg(*arguments)

    assert first.returncode == 0, first.stderr
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["state_sha256"] in first.stdout
    assert report["state_sha256"] in second.stdout
    shape = "model learner events seconds events_per_second metrics recent frozen curve drift state_sha256 memory_bytes"
    assert set(shape.split()) <= report.keys()
    assert report["events"] == 1000
    assert report["metrics"]["accuracy"] > report["frozen"]["accuracy"] + 0.1  # the frozen twin missed the turn
    assert report["curve"][-1]["events"] == 1000
    assert "line 1002: wrong_dtype" in first.stdout
    picture = (tmp_path / "report" / "report.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000
    other = thalweg(*arguments, "--limit", "100", "--seed", "5")
    assert report["state_sha256"] not in other.stdout


@pytest.mark.parametrize(("batch", "records"), [("1", 1000), ("250", 4)])
def test_produce_appends_a_file_to_the_log(config: str, stream: str, tmp_path: Path, batch: str, records: int) -> None:
    done = thalweg("produce", config, "--topic", "m.events", "--input", stream, "--batch", batch)

    assert done.returncode == 1
    assert "appended 1,000 events to m.events" in done.stdout
    assert "error: 1 line was left out: 1 wrong_dtype" in done.stderr
    assert "line 1002: wrong_dtype" in done.stderr
    log = SqliteLog(tmp_path / "log.db")
    assert log.bounds("m.events") == {Partition("m.events", 0): (0, records)}
    log.close()
    other = thalweg("produce", config, "--topic", "other", "--input", stream)
    assert (other.returncode, "known: m.events" in other.stderr) == (2, True)


def times(config: str) -> NDArray[np.float64]:
    """When the events in the log happened."""
    log = SqliteLog(Path(config).parent / "log.db")
    (records,) = log.reader(["m.events"], {}).poll(1.0)
    log.close()
    return Decoder(Schema({"x": TensorSpec("x", "float32", (2,))}, "class")).decode(records).batch.times


@pytest.mark.parametrize("batch", ["1", "2"])
def test_produced_events_keep_their_time_and_get_one_if_they_have_none(config: str, tmp_path: Path, batch: str) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"id":"e","time":1700000000.25,"inputs":{"x":[1,2]},"label":"u"}\n{"inputs":{"x":[1,3]}}\n')
    before = time.time()

    done = thalweg("produce", config, "--topic", "m.events", "--input", str(path), "--batch", batch)

    assert done.returncode == 0, done.stderr
    assert times(config)[0] == 1700000000.25
    assert before <= times(config)[1] <= time.time()


def test_events_are_produced_in_steps_of_the_rate_that_is_asked_for(config: str, stream: str) -> None:
    done = thalweg("produce", config, "--topic", "m.events", "--input", stream, "--rate", "400", "--limit", "100")

    assert done.returncode == 0, done.stderr
    _, together = np.unique(times(config), return_counts=True)
    assert together.tolist() == [20] * 5  # twenty steps a second


def test_in_json_what_goes_wrong_is_a_line_of_json(config: str) -> None:
    done = thalweg("replay", config, "--model", "x", "--input", "none.csv", "--log-format", "json")

    assert done.returncode == 2
    assert json.loads(done.stderr)["event"] == "no model is called 'x'; known: m"


def test_predict_answers_from_standard_input(tmp_path: Path) -> None:
    with service(tmp_path) as running:
        running.start()
        until("readiness", running.ready)
        running.send(200)
        until("200 events to be served", lambda: running.learned() == 200)
        target = f"127.0.0.1:{running.ports['grpc']}"

        good = thalweg("predict", "--target", target, "--model", "m", given='{"features": [1, 0, 0, 0]}')
        bad = thalweg("predict", "--target", target, "--model", "m", given='{"features": [1, 0]}')
        unknown = thalweg("predict", "--target", target, "--model", "x", given="{}")
        many = thalweg("predict", "--target", target, "--model", "m", given='{"features": [1, 0, 0, 0]}\n' * 2)
        web = f"127.0.0.1:{running.ports['http']}"
        event = '[{"inputs": {"features": [1, 0, 0, 0]}, "id": "e-1", "label": "a"}]'
        over_http = thalweg("predict", "--target", web, "--model", "m", given=event)
        bad_over_http = thalweg("predict", "--target", web, "--model", "m", given="{}")
        useless = [
            thalweg("predict", "--target", target, "--model", "m", given=given)
            for given in ("", "[5]", '{"inputs": 5}', '{"features": [[1], [1, 2]]}', '{"y": 1}')
        ]

    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout).keys() >= {"label", "version", "staleness_seconds"}
    assert json.loads(good.stdout)["label"] == "a"
    assert [json.loads(line)["label"] for line in many.stdout.splitlines()] == ["a", "a"]
    assert [(row["id"], row["label"]) for row in json.loads(over_http.stdout)] == [("e-1", "a")]
    assert (bad_over_http.returncode, "400 Bad Request: input 'features'" in bad_over_http.stderr) == (1, True)
    assert (bad.returncode, "INVALID_ARGUMENT: input 'features'" in bad.stderr) == (1, True)
    assert (unknown.returncode, "NOT_FOUND" in unknown.stderr) == (1, True)
    for done in useless:
        assert (done.returncode, done.stderr.startswith("error: "), done.stderr.count("\n")) == (1, True, 1), (
            done.stderr
        )


@pytest.mark.slow(60)
def test_the_demo_shows_that_learning_follows_the_stream(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "thalweg.ops.cli", "demo", "--seconds", "8"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT, cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    row = next(line.split() for line in done.stdout.splitlines() if line.split()[:1] == ["digits"])
    assert float(row[2]) > float(row[3]) + 0.1
    assert "predict p50/p99" in done.stdout
    memory, frozen = (
        next(float(line.split()[-2]) for line in done.stdout.splitlines() if line.split()[:1] == [name])
        for name in ("memory", "frozen")
    )
    assert memory > frozen
    lines = [line.split() for line in done.stdout.splitlines()]
    at = next(number for number, words in enumerate(lines) if words[:1] == ["visits"])
    learning, truth, frozen = ([float(word) for word in words[-5:] if word != "-"] for words in lines[at + 1 : at + 4])
    assert learning[2] > frozen[-3]  # once the other habits are learned
    assert all(ours < best for ours, best in zip(learning, truth))
    at = next(number for number, words in enumerate(lines) if words[:1] == ["camera,"])
    adapting, as_deployed = (float(words[3]) for words in lines[at + 1 : at + 3])
    assert adapting < 0.7 * as_deployed  # in thick fog
    for name in ("clicks", "visits", "camera"):
        assert (tmp_path / f"demo-{name}.png").stat().st_size > 10_000


@pytest.mark.slow(10)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_demo_that_is_ended_early_leaves_no_process_behind(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "thalweg.ops.cli", "demo", "--seconds", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as demo:
        assert demo.stdout is not None
        first = demo.stdout.readline()
        folder = Path(first.split()[-1])
        until("both processes", lambda: len(_working_in(folder)) >= 3)

        demo.send_signal(number)
        demo.wait(WAIT)

        until("all to end", lambda: not _working_in(folder))
    assert folder.exists() == (number == signal.SIGKILL)
    for rest in ((folder / "state" / "live").resolve(), folder):
        shutil.rmtree(rest, ignore_errors=True)


def _working_in(folder: Path) -> list[str]:
    """The processes whose command line names the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(folder) in (line := path.read_text()):
                found.append(line)
    return found
