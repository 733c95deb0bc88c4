"""The live page over HTTP: its files, what it may do, its figures, and dead letters decoded."""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.serve.serving import RunningServer, served
from tests.services.processes import PATIENCE
from thalweg.memory.snapshots.manifest import Manifest
from thalweg.ops.serve.access.tokens import Tokens
from thalweg.ops.telemetry.latency_window import SLICE_SECONDS, SLICES, Recent
from thalweg.ops.telemetry.status import STATUS_FILE, Statuses
from thalweg.ops.webpage.dead_letters import decoded, grouped, newest
from thalweg.ops.webpage.figures import details, summary, versions_of
from thalweg.ops.webpage.troubles import LEVELS, troubles
from thalweg.proto.records import Partition, Records
from thalweg.proto.rejected import Rejected
from thalweg.stream.health.registry import ComponentHealth, Condition
from thalweg.stream.log.dead_letters import DeadLetters
from thalweg.stream.log.in_memory import InMemoryLog

TOKEN = "a-token-that-nobody-guesses"
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}
ALARM = {
    "number": 1,
    "since": 3057,
    "start": 3104,
    "peak": 3110,
    "end": None,
    "start_time": 1.7e9,
    "end_time": None,
    "detector": "adwin",
    "signal": "loss",
    "severity": 0.31,
    "kind": "concept",
    "signals": [{"signal": "loss", "detector": "adwin", "event": 3104}],
    "features": [{"name": "features[0]", "distance": 0.2}],
    "action": "rollback",
    "done": "rolled back to version 12",
}


def told(**changes: Any) -> dict[str, Any]:
    """The status of a healthy model."""
    return {
        "time": time.time(),
        "events": 5000,
        "events_per_second": 100.0,
        "lag_records": 0,
        "metrics": {"accuracy": 0.9},
        "recent": {"accuracy": 0.94},
        "frozen_recent": {"accuracy": 0.61},
        "drift": {"scores": [], "alarms": []},
        **changes,
    }


@pytest.fixture(scope="module")
def open_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Without a token file."""
    with served(tmp_path_factory.mktemp("open")) as parts:
        yield parts


@pytest.fixture(scope="module")
def locked_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """With a token file, statuses, and somebody who answers for the learner."""
    folder = tmp_path_factory.mktemp("locked")
    (folder / "tokens").write_text(TOKEN + "\n")
    (folder / "live").mkdir()
    with served(folder, tokens=Tokens(folder / "tokens"), statuses=Statuses(folder / "live")) as parts:
        yield parts


@pytest.fixture
def reader(open_service: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{open_service.server.http_port}") as client:
        yield client


@pytest.fixture
def operator(locked_service: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{locked_service.server.http_port}") as client:
        yield client


class Answering:
    """Answers what is asked of model `m` as its learner would, once."""

    def __init__(self, parts: RunningServer, answer: dict[str, Any]) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._parts, self._answer = parts, answer
        self._thread = threading.Thread(target=self._wait)

    def _wait(self) -> None:
        while not (commands := self._parts.store.poll("m")):
            time.sleep(0.005)
        self.asked = [(command.verb, dict(command.arguments)) for command in commands]
        for command in commands:
            self._parts.store.respond(command.id, self._answer)

    def __enter__(self) -> Answering:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()


def test_browsers_get_the_page_and_programs_the_index(reader: httpx.Client) -> None:
    page, index = reader.get("/", headers=BROWSER), reader.get("/")

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert '<main id="model"' in page.text
    assert index.json()["service"] == "thalweg"
    assert page.headers["vary"] == index.headers["vary"] == "accept"


def test_nothing_but_what_we_serve_may_be_loaded_and_nothing_inline(reader: httpx.Client) -> None:
    page = reader.get("/", headers=BROWSER)

    policy = dict(part.strip().partition(" ")[::2] for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == "'none'"
    assert not any("unsafe" in source or "http" in source for source in policy.values())
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "style=" not in page.text
    assert "<script>" not in page.text
    assert "://" not in page.text


def test_every_file_that_the_page_names_is_served_as_what_it_is(reader: httpx.Client) -> None:
    page = reader.get("/", headers=BROWSER).text
    names = {part.split('"')[0] for part in page.split('="/page/')[1:]}
    modules, seen = ["main.js"], set()
    while modules:
        name = modules.pop()
        seen.add(name)
        text = reader.get(f"/page/{name}").text
        modules += {line.rpartition('"./')[2].rstrip('";') for line in text.splitlines() if 'from "./' in line} - seen

    kinds = {name: reader.get(f"/page/{name}").headers["content-type"].split(";")[0] for name in names | seen}

    assert {name.rpartition(".")[2]: kind for name, kind in kinds.items()} == {
        "js": "text/javascript",
        "css": "text/css",
        "svg": "image/svg+xml",
    }
    assert len(seen) >= 8


def test_a_browser_that_has_a_file_is_told_that_it_is_the_same(reader: httpx.Client) -> None:
    first = reader.get("/page/main.js")

    again = reader.get("/page/main.js", headers={"if-none-match": first.headers["etag"]})
    other = reader.get("/page/main.js", headers={"if-none-match": '"another"'})

    assert (again.status_code, again.content) == (304, b"")
    assert other.content == first.content
    assert first.headers["cache-control"] == "no-cache"


def luminance(color: str) -> float:
    """Relative, as WCAG 2 defines it."""
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_stands_out_from_its_ground_by_day_and_by_night(reader: httpx.Client) -> None:
    sheets = reader.get("/page/page.css").text.split("@media (prefers-color-scheme: dark)")[:2]
    for sheet in sheets:
        colors = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", sheet.split("* {")[0]))
        for ink in ("ink", "soft", "live", "bad", "watch"):
            for ground in ("paper", "raised"):
                dark, light = sorted([luminance(colors[ink]), luminance(colors[ground])])
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground, colors)


@pytest.mark.parametrize("name", ["nothing.js", "../page_api.py", "..%2fpage_api.py", "%2e%2e/errors.py", "", "vendor"])
def test_only_the_pages_own_files_are_served(reader: httpx.Client, name: str) -> None:
    assert reader.get(f"/page/{name}").status_code == 404


def test_figures_are_never_kept_by_a_cache(reader: httpx.Client) -> None:
    for path in ("/api/models", "/api/models/m", "/api/models/m/dead_letters"):
        answer = reader.get(path)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        assert answer.headers["content-type"] == "application/json"


def test_every_model_is_listed_with_its_problems(reader: httpx.Client, open_service: RunningServer) -> None:
    found = {one["name"]: one for one in reader.get("/api/models").json()["models"]}

    assert found["m"]["ready"]
    assert found["m"]["state_version"] == open_service.version
    assert found["m"]["learned_events"] == open_service.learned
    assert found["empty"]["level"] == "bad"
    assert found["empty"]["troubles"][0]["code"] == "not_ready"


def test_one_model_has_its_snapshots_and_latency(reader: httpx.Client, open_service: RunningServer) -> None:
    rows = [[0.0] * 4] * 2
    tensor = {"name": "features", "shape": [2, 4], "datatype": "FP32", "data": rows}
    for _ in range(5):
        reader.post("/v2/models/m/infer", json={"inputs": [tensor]}).raise_for_status()

    found = reader.get("/api/models/m").json()

    assert [one["version"] for one in found["snapshots"]] == [1]
    assert found["snapshots"][0]["metrics"] == {"accuracy": 0.5}
    assert 0 < found["latency"]["p50_seconds"] <= found["latency"]["p99_seconds"] < 10
    assert found["latency"]["answers_per_second"] > 0


def test_one_model_has_what_is_promised_of_its_freshness_and_what_is_left(reader: httpx.Client) -> None:
    assert reader.get("/api/models/m").json()["freshness"] == {
        "p50_seconds": None,
        "p99_seconds": None,
        "objective": 0.99,
        "within_seconds": 1.0,
        "window_days": 30,
        "budget_remaining": 1.0,
    }


def test_a_version_saved_while_the_page_is_open_appears(reader: httpx.Client, open_service: RunningServer) -> None:
    before = {one["version"] for one in reader.get("/api/models/m").json()["snapshots"]}

    open_service.learn(10, save=True)

    after = {one["version"] for one in reader.get("/api/models/m").json()["snapshots"]}
    assert after - before == {open_service.version}


@pytest.mark.parametrize("name", ["nobody", "%3Cscript%3E", "a%2Fb", "%00", "x" * 3000])
def test_an_unknown_model_is_not_found(reader: httpx.Client, name: str) -> None:
    answer = reader.get(f"/api/models/{name}")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/json"


def test_without_a_token_file_the_page_is_read_only(reader: httpx.Client, open_service: RunningServer) -> None:
    assert "token_file" in reader.get("/api/models").json()["read_only"]
    for verb in ("snapshot", "rollback"):
        answer = reader.post(f"/api/models/m/{verb}", json={"version": 1}, headers=AUTHORIZED)
        assert answer.status_code == 403
        assert "token_file" in answer.json()["error"]
    assert open_service.store.poll("m") == []


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": TOKEN}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}],
)
def test_with_a_token_file_acting_and_dead_letters_need_a_token(
    operator: httpx.Client, locked_service: RunningServer, headers: dict[str, str]
) -> None:
    answers = [
        operator.post("/api/models/m/snapshot", headers=headers),
        operator.post("/api/models/m/rollback", json={"version": 1}, headers=headers),
        operator.get("/api/models/m/dead_letters", headers=headers),
        operator.get(f"/api/models/m/dead_letters?token={TOKEN}", headers=headers),
    ]

    assert [answer.status_code for answer in answers] == [401] * 4
    assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}
    assert locked_service.store.poll("m") == []
    assert operator.get("/api/models/m").status_code == 200  # looking is free


def test_who_has_a_token_saves_and_rolls_back(operator: httpx.Client, locked_service: RunningServer) -> None:
    with Answering(locked_service, {"version": 7}) as learner:
        saved = operator.post("/api/models/m/snapshot", headers=AUTHORIZED)
    assert (saved.json(), learner.asked) == ({"version": 7}, [("snapshot", {})])

    with Answering(locked_service, {"version": 8}) as learner:
        back = operator.post("/api/models/m/rollback", json={"version": 0}, headers=AUTHORIZED)
    assert (back.json(), learner.asked) == ({"version": 8}, [("rollback", {"version": 0})])


def test_the_message_of_a_learner_that_refuses_is_passed_on(
    operator: httpx.Client, locked_service: RunningServer
) -> None:
    refusal = {"error": "failed_precondition", "message": "version 3 is not kept; kept: 1, 2"}
    with Answering(locked_service, refusal):
        answer = operator.post("/api/models/m/rollback", json={"version": 3}, headers=AUTHORIZED)

    assert (answer.status_code, answer.json()["error"]) == (409, refusal["message"])


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"3", b'{"version": "1"}', b'{"version": true}', b'{"version": -1}', b"[" * 4000]
)
def test_a_rollback_to_no_version_is_refused_before_anybody_is_asked(
    operator: httpx.Client, locked_service: RunningServer, body: bytes
) -> None:
    answer = operator.post("/api/models/m/rollback", content=body, headers=AUTHORIZED)

    assert answer.status_code == 400
    assert locked_service.store.poll("m") == []


def test_a_body_without_end_is_not_read(operator: httpx.Client) -> None:
    answer = operator.post("/api/models/m/rollback", content=b" " * 1_000_000, headers=AUTHORIZED)

    assert answer.status_code == 413


def test_actions_that_wait_never_take_all_threads(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(TOKEN)
    with served(tmp_path, tokens=Tokens(tmp_path / "tokens")) as parts:
        url = f"http://127.0.0.1:{parts.server.http_port}/api/models/m/snapshot"
        codes: list[int] = []
        threads = [
            threading.Thread(
                target=lambda: codes.append(httpx.post(url, headers=AUTHORIZED, timeout=PATIENCE).status_code)
            )
            for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + PATIENCE
        while codes.count(429) < 8 and time.monotonic() < deadline:
            time.sleep(0.01)
        while len(codes) < 12 and time.monotonic() < deadline:
            for command in parts.store.poll("m"):
                parts.store.respond(command.id, {"version": 1})
            time.sleep(0.01)
        for thread in threads:
            thread.join()

    assert sorted(codes) == [200] * 4 + [429] * 8


@pytest.mark.parametrize("limit", ["0", "-1", "101", "a", "1e3", "", "9" * 400, "000000001" + "9" * 5000, "²"])
def test_so_many_dead_letters_are_not_shown(operator: httpx.Client, limit: str) -> None:
    answer = operator.get("/api/models/m/dead_letters", params={"limit": limit}, headers=AUTHORIZED)

    assert answer.status_code == 400


GARBAGE = {
    b'{"a": [1, "<b>"]}': ("json", '{\n  "a": [\n    1,\n    "<b>"\n  ]\n}'),
    b"<script>alert(1)</script>": ("text", "<script>alert(1)</script>"),
    b"": ("text", ""),
    b"3": ("text", "3"),
    "süd\n".encode(): ("text", "süd\n"),
    "abc\u202edcba": ("text", "abc\\u{202e}dcba"),
    b"\xff\x00\x01A": ("bytes", f"0000  {'ff 00 01 41':<47}  ···A"),
    b"\x00" * 4: ("bytes", f"0000  {'00 00 00 00':<47}  ····"),
    b'{"a": "\\ud800"}': ("json", '{\n  "a": "\\u{d800}"\n}'),
    b"[" * 100_000: ("text", "[" * 4000),
    b'{"n": 1' + b"0" * 5000 + b"}": ("text", '{"n": 1' + "0" * 3993),
}


@pytest.mark.parametrize(("value", "kind", "text"), [(value, *shown) for value, shown in GARBAGE.items()])
def test_a_value_is_decoded_as_what_it_is(value: bytes | str, kind: str, text: str) -> None:
    content = value.encode() if isinstance(value, str) else value

    found = decoded(content)

    assert (found["kind"], found["text"]) == (kind, text)
    assert found["size"] == len(content)


@given(st.none() | st.binary(max_size=3000) | st.text(max_size=2000).map(lambda text: text.encode("utf-8", "replace")))
def test_whatever_a_value_is_what_is_shown_is_bounded_and_can_be_read(value: bytes | None) -> None:
    found = decoded(value)

    json.dumps(found).encode()
    assert len(found["text"]) <= 4000 * len("\\u{10ffff}")
    assert all(sign.isprintable() or sign in "\n\t " or not sign.strip() for sign in found["text"])


def test_a_large_value_is_cut_where_no_sign_is(tmp_path: Path) -> None:
    found = decoded(b"a" + "ü".encode() * 20_000)

    assert found["kind"] == "text"
    assert found["cut"]
    assert found["text"] == "a" + "ü" * 3999


def test_the_newest_dead_letters_come_first_from_events_and_labels(locked_service: RunningServer) -> None:
    log = InMemoryLog()
    for number, topic in enumerate(["e", "l", "e", "e"]):
        records = Records(
            Partition(topic, 2), [number], [100.0 + number], [b"k"], [b"v%d" % number], [[("h", b"\xff")]]
        )
        DeadLetters(log, topic, "m").send(records, [Rejected(0, "malformed", "expected JSON", (4, 5))])

    found = newest(log, ["e", "l"], 3)

    assert [one["value"]["text"] for one in found] == ["v3", "v2", "v1"]
    assert found[2] == {
        "kept_in": "l.dlq",
        "model": "m",
        "reason": "malformed",
        "detail": "expected JSON",
        "topic": "l",
        "partition": 2,
        "offset": 1,
        "time": 101.0,
        "rows": [4, 5],
        "key": {"kind": "text", "size": 1, "text": "k", "cut": False},
        "value": {"kind": "text", "size": 2, "text": "v1", "cut": False},
        "headers": [{"name": "h", "value": decoded(b"\xff")}],
    }


def test_dead_letters_are_served_over_http(operator: httpx.Client, locked_service: RunningServer) -> None:
    records = Records(Partition("m.events", 0), [5], [1.0], [None], [b"\x80nonsense"], [[]])
    DeadLetters(locked_service.log, "m.events", "m").send(records, [Rejected(0, "malformed", "<img src=x>")])

    (found,) = operator.get("/api/models/m/dead_letters?limit=1", headers=AUTHORIZED).json()["letters"]

    assert (found["offset"], found["value"]["kind"], found["detail"]) == (5, "bytes", "<img src=x>")


def write(parts: RunningServer, table: dict[str, Any]) -> None:
    """As the learner's process writes it."""
    live = parts.publisher._folder.parent  # the live folder, where a learner would write it
    beside = live / f".{STATUS_FILE}"
    beside.write_text(json.dumps({"m": table}))
    beside.rename(live / STATUS_FILE)


def test_the_status_of_the_learner_is_shown_beside_the_figures_of_the_server(
    operator: httpx.Client, locked_service: RunningServer
) -> None:
    points = [[10 * n, 1.7e9 + n, 0.9, None if n < 3 else 0.6] for n in range(10)]
    curve = {"metric": "accuracy", "higher_is_better": True, "points": points}
    write(locked_service, told(curve=curve, drift={"scores": [], "alarms": [ALARM]}))

    deadline = time.monotonic() + PATIENCE
    while not (found := operator.get("/api/models/m").json())["alarms"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)

    assert found["curve"] == curve
    assert found["alarms"] == [ALARM]
    assert found["open_alarm"] == ALARM
    assert found["quality"]["now"] == 0.94
    assert found["level"] == "bad"
    assert found["troubles"][0]["text"] == "concept drift since event 3,057"


def codes(service: RunningServer, now: float | None = None, stale: float = 0.0, **changes: Any) -> list[str]:
    """What is wrong with a model that is so many seconds stale and of which its learner tells this."""
    found = summary(service.server.models.find("m"), told(**changes), now or time.time())
    told_of = troubles({**found, "staleness_seconds": stale})
    levels = [LEVELS.index(one.level) for one in told_of]
    assert levels == sorted(levels)
    return [one.code for one in told_of]


def test_problems_are_listed_most_severe_first(open_service: RunningServer) -> None:
    assert codes(open_service) == []
    assert codes(open_service, time.time() + 60) == ["silent"]
    assert codes(open_service, stale=20.0, lag_records=2000) == ["lag"]
    assert codes(open_service, stale=20.0, lag_records=2000, events_per_second=0.0) == ["stalled"]
    assert codes(open_service, stale=1e9, lag_records=5) == []  # events of another decade, soon caught up with
    assert (
        codes(open_service, stale=0.5, lag_records=1, events_per_second=0.05) == []
    )  # a slow stream, not a slow model
    assert codes(open_service, recent={}) == ["unlabelled"]
    assert codes(open_service, recent={}, events=0) == ["no_events"]
    assert codes(open_service, frozen_recent={"accuracy": 0.99}) == ["worse_than_frozen"]
    assert codes(open_service, snapshot_failures=2, dead_letters={"malformed": 1}) == ["snapshots", "dead_letters"]
    inputs = {"scores": [], "alarms": [{**ALARM, "kind": "inputs"}]}
    assert codes(open_service, stale=100.0, drift=inputs, lag_records=60_000) == ["lag", "drift"]
    ended = {"scores": [], "alarms": [{**ALARM, "end": 4000}]}
    assert codes(open_service, drift=ended) == []


def test_an_overspent_freshness_budget_is_told_while_records_come(open_service: RunningServer) -> None:
    found = summary(open_service.server.models.find("m"), told(), time.time())

    def told_of(left: float | None, **more: Any) -> list[tuple[str, str]]:
        return [(one.level, one.text) for one in troubles({**found, "freshness_budget_remaining": left, **more})]

    text = "too many late records: 200 % of the freshness error budget of 30 days is spent"
    assert found["freshness_budget_remaining"] == 1.0  # nothing was counted
    assert told_of(-1.0) == [("watch", text)]
    assert told_of(-0.001) == [("watch", text.replace("200", "101"))]
    assert [told_of(left) for left in (None, 1.0, 0.0, -1e-16)] == [[]] * 4
    assert told_of(-1.0, events_per_second=0.0, lag_records=0) == []  # an idle model misses nothing
    assert told_of(-1.0, events_per_second=0.0, lag_records=3) == [("watch", text)]


def part(component: str, state: Condition, reason: str, since: float) -> ComponentHealth:
    return ComponentHealth(component=component, model="m", state=state, reason=reason, since=since, restarts=0)


def test_a_part_that_does_not_work_is_told_the_learner_first_and_each_cause_once(open_service: RunningServer) -> None:
    now, model = time.time(), open_service.server.models.find("m")
    gone = "the learner process has not been heard of for 12 s"

    def told_of(*parts: ComponentHealth) -> list[tuple[str, str]]:
        found = summary(model, told(), now, parts)
        return [(one["level"], one["text"]) for one in found["troubles"] if one["code"] != "dead_letters"]

    assert told_of(part("learner", Condition.RUNNING, "", now)) == []
    waits = part("learner", Condition.WAITING, "the log is out of reach", now - 5)
    assert told_of(waits) == [("watch", "learner waiting: the log is out of reach")]
    assert told_of(replace(waits, since=now - 94)) == [("bad", "learner waiting: the log is out of reach")]
    assert told_of(part("saver", Condition.DEGRADED, "disk full", now), waits) == [
        ("watch", "learner waiting: the log is out of reach"),
        ("watch", "saver degraded: disk full"),
    ]
    assert told_of(*(part(name, Condition.FAILED, gone, now) for name in ("saver", "learner", "learner_process"))) == [
        ("bad", f"learner failed: {gone}")
    ]


def test_a_baseline_within_the_confidence_interval_is_no_better(open_service: RunningServer) -> None:
    baseline = {"accuracy": 0.95}

    assert codes(open_service, frozen_recent=baseline, bounds={"accuracy": [0.92, 0.96]}) == []
    assert codes(open_service, frozen_recent=baseline, bounds={"accuracy": [0.935, 0.945]}) == ["worse_than_frozen"]


LOST = {"alarm": 1, "since": 4110, "metric": "accuracy", "before": 0.92, "now": 0.62, "recovered": False}
BACK = {"at": 5000, "how": "rolled back to version 3", "before": 0.62}


def texts(service: RunningServer, **changes: Any) -> list[tuple[str, str]]:
    found = summary(service.server.models.find("m"), told(**changes), time.time())
    return [(one["level"], one["text"]) for one in found["troubles"]]


def test_quality_is_told_against_what_it_was_before_a_drift_and_before_a_rollback(open_service: RunningServer) -> None:
    assert texts(open_service, recovery=LOST) == [
        ("watch", "not recovered: accuracy 62.0 %, was 92.0 % before event 4,110")
    ]
    assert texts(open_service, recovery={**LOST, "recovered": True}) == []
    assert texts(open_service, recovery={**LOST, "now": None, "recovered": None}) == []
    numbers = {**LOST, "metric": "rmse", "before": 0.4121, "now": 1.5}
    assert texts(open_service, recovery=numbers)[0][1] == "not recovered: RMSE 1.5, was 0.412 before event 4,110"

    back = "rolled back to version 3 at event 5,000"
    assert texts(open_service, replaced=BACK) == [("note", f"{back}: accuracy 94.0 % since, 62.0 % before")]
    worse = {"recent": {"accuracy": 0.3}, "frozen_recent": {}}
    assert texts(open_service, replaced=BACK, **worse) == [("watch", f"{back}: accuracy 30.0 % since, 62.0 % before")]
    nothing = {"recent": {}, "curve": {"metric": "accuracy", "points": []}}
    assert texts(open_service, replaced=BACK, **nothing) == [("watch", f"{back}, no labels since: quality unknown")]


def test_quality_is_told_against_its_floor_and_against_naive_controls(open_service: RunningServer) -> None:
    floor = {"quality": "accuracy", "quality_floor": 0.96, "floor_breached": True}
    assert texts(open_service, **floor) == [
        ("bad", "worse than the quality floor: accuracy 94.0 %, the floor is 96.0 %")
    ]
    assert texts(open_service, **{**floor, "floor_breached": None}) == []

    controls = {"majority": {"accuracy": 0.95}, "repeat_last_label": {"accuracy": 0.94}}
    assert texts(open_service, controls_recent=controls, recent_events=1000) == [
        ("watch", "no better than the majority class: accuracy 94.0 % against 95.0 %"),
        ("note", "no better than the label before: accuracy 94.0 % against 94.0 %"),
    ]
    assert texts(open_service, controls_recent=controls, recent_events=99) == []  # it has hardly begun


def test_labels_that_no_longer_come_are_told_with_the_event_that_the_quality_is_of(open_service: RunningServer) -> None:
    missing = "no labels: the newest 1,500 events came without one; accuracy is that of event 3,500"

    assert texts(open_service, unlabelled_events=1500) == [("watch", missing)]
    assert texts(open_service, unlabelled_events=1000) == []
    assert texts(open_service, unlabelled_events=1500, recent_events=2000) == []  # a window of more than came since
    assert texts(open_service, unlabelled_events=1500, task="adaptation") == []


def test_late_labels_are_missed_only_after_their_usual_delay(open_service: RunningServer) -> None:
    model, now = copy(open_service.server.models.find("m")), time.time()
    model.labels_topic = "labels"

    def level(silent: float, **more: float) -> str:
        status = told(unlabelled_events=1500, joined_at=now - silent, **more)
        return str(summary(model, status, now)["level"])

    assert [level(silent, label_delay_seconds=500.0) for silent in (990, 1010)] == ["well", "watch"]
    assert [level(silent, label_delay_seconds=0.1) for silent in (59, 61)] == ["well", "watch"]
    assert [level(silent) for silent in (3500, 3700)] == ["well", "watch"]  # their delay is not known yet
    model.learn_from_requests = True
    assert level(3700) == "well"


def test_what_was_learned_is_never_newer_than_what_was_seen(open_service: RunningServer) -> None:
    status = told(events=100, learned_events=90)  # the version that is served has learned more meanwhile

    found = summary(open_service.server.models.find("m"), status, time.time())

    assert (found["events"], found["events_learned"]) == (100, 90)
    assert found["learned_events"] == open_service.learned > 100


def test_where_smaller_is_better_a_baseline_with_a_smaller_value_is_better(open_service: RunningServer) -> None:
    worse = {"recent": {"rmse": 3.0}, "frozen_recent": {"rmse": 2.0}}
    better = {"recent": {"rmse": 2.0}, "frozen_recent": {"rmse": 3.0}}

    assert codes(open_service, **worse) == ["worse_than_frozen"]
    assert codes(open_service, **better) == []


def test_a_model_whose_learner_has_no_status_yet_is_shown(open_service: RunningServer) -> None:
    model = open_service.server.models.find("m")

    found = details(model, None, time.time(), model.versions.snapshots.manifests(), {})

    assert found["quality"] is None
    assert found["curve"] is None
    assert found["troubles"][0]["code"] == "untold"
    assert found["silent_since"] is None


def manifest(version: int, parent: int | None) -> Manifest:
    return Manifest(
        model="m",
        version=version,
        parent=parent,
        learner="ridge",
        config_sha256="",
        offsets={},
        events_learned=10 * version,
        created=100.0 + version,
    )


def test_a_rollback_shows_in_the_snapshots() -> None:
    kept = [manifest(3, 1), manifest(5, 3), manifest(9, 5), manifest(10, 5), manifest(11, 10)]

    assert [one["rolled_back_to"] for one in versions_of(kept)] == [None, None, None, 5, None]


def test_a_snapshot_has_the_recent_quality_it_had_then() -> None:
    (found,) = versions_of([replace(manifest(3, 1), metrics={"accuracy": 0.7}, recent={"accuracy": 0.9})])

    assert (found["metrics"], found["recent"]) == ({"accuracy": 0.7}, {"accuracy": 0.9})


def test_dead_letters_are_grouped_by_reason_the_most_frequent_first() -> None:
    letters = [{"reason": reason, "time": 9.0 - place} for place, reason in enumerate(["a", "b", "b", "a", "b"])]

    assert grouped(letters) == [
        {"reason": "b", "count": 3, "newest": 8.0, "example": letters[1]},
        {"reason": "a", "count": 2, "newest": 9.0, "example": letters[0]},
    ]
    assert grouped([]) == []


@given(
    seconds=st.lists(st.floats(1.1e-5, 90.0), min_size=1, max_size=300),
    share=st.sampled_from([0.5, 0.9, 0.99]),
)
def test_a_quantile_of_the_recent_minute_is_right_within_ten_percent(seconds: list[float], share: float) -> None:
    recent = Recent()
    recent.add(np.array(seconds), np.full(len(seconds), 1000.0))

    (found,) = Recent.quantiles_of(recent.counts(1001.0), (share,)) or [math.nan]

    exact = sorted(seconds)[math.ceil(share * len(seconds)) - 1]
    assert exact * 0.999 <= found <= exact * 1.11


def test_what_is_older_than_a_minute_no_longer_counts() -> None:
    recent = Recent()
    recent.add(np.full(100, 5.0), np.full(100, 3.0))
    recent.add(np.full(100, 0.001), np.full(100, 50.0))
    assert recent.per_second(60.0) == pytest.approx(200 / 57)

    (found,) = Recent.quantiles_of(recent.counts(SLICE_SECONDS * (SLICES + 1) + 1), (0.99,)) or [math.nan]

    assert found == pytest.approx(0.001, rel=0.11)
    assert Recent.quantiles_of(recent.counts(1000.0), (0.5,)) is None
    recent.add(np.array([9.0]), np.array([1000.0]))
    recent.add(np.array([9.0]), np.array([3.0]))  # came too late to count
    assert recent.per_second(1000.0) == pytest.approx(1 / 60)
