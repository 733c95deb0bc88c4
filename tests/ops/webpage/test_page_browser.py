"""The live page as a person meets it: Chromium on one side, the real service on the other."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.ops.running import Service, service, until
from tests.ops.serve.serving import served
from tests.samples import events
from tests.services.chromium import chromium
from tests.services.processes import PATIENCE, required_or_skipped, stop
from thalweg.ops.cli.produce import messages
from thalweg.ops.run.app import new_learner
from thalweg.ops.serve.access.tokens import Tokens
from thalweg.ops.telemetry.process_health import HEALTH_FILE
from thalweg.ops.telemetry.status import STATUS_FILE
from thalweg.proto.event import Batch, ClassLabels
from thalweg.stream.log.log import Message
from thalweg.stream.publication.file_channel import FilePublisher

pytestmark = pytest.mark.browser

TOKEN = "a-token-that-nobody-guesses"
DRIFT = """
[model.drift]
reference_events = 200
settle_events = 5000
action = "rollback"
"""
LONG = "a-name-" + 180 * "x"
MORE = """
[[model]]
name = "{name}"
learner = "ridge"
topic = "{name}.events"
ready_after_events = 0
inputs.features = {{ shape = [4], dtype = "float32" }}
[model.params]
expansion = 8
"""
WAIT = 1000 * PATIENCE


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=WAIT)
    with required_or_skipped(), chromium() as browser:
        yield browser


class Opened:
    """A page with all that it asked for and complained about."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.origin = origin
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on(
            "console", lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(origin)

    def verdict(self, text: str | re.Pattern[str]) -> None:
        expect(self.page.locator("#verdict")).to_contain_text(text, timeout=WAIT)


@contextmanager
def opened(browser: Browser, running: Service, path: str = "/", width: int = 1280) -> Iterator[Opened]:
    """The page in a profile of its own; nothing of it may leave the service, and nothing may go wrong in it."""
    context = browser.new_context(viewport={"width": width, "height": 800}, reduced_motion="reduce")
    context.set_default_timeout(WAIT)
    origin = f"http://127.0.0.1:{running.ports['http']}"
    try:
        made = Opened(context.new_page(), origin + path)
        yield made
        assert all(url.startswith(origin + "/") for url in made.asked)
        assert made.complaints == []
    finally:
        context.close()


@contextmanager
def watched(folder: Path, more: str = DRIFT, *, token: bool = True) -> Iterator[Service]:
    """A service that is ready, with a token file."""
    (folder / "tokens").write_text(TOKEN + "\n")
    with service(folder, more=more) as running:
        if token:
            text = running.path.read_text().replace("[log]", f'token_file = "{folder}/tokens"\n[log]', 1)
            running.path.write_text(text)
        running.start()
        until("readiness", running.ready)
        yield running


def send(running: Service, count: int, *, turned: bool = False, labels: bool = True, topic: str = "") -> None:
    """Events of three classes; turned: each is called by the next one's name."""
    batch = events(count, running.sent)
    running.sent += count
    assert isinstance(batch.labels, ClassLabels)
    codes = ((batch.labels.codes + turned) % 3).astype(np.int32)
    named = ClassLabels(codes, batch.labels.names) if labels else None
    batch = Batch(batch.inputs, named, batch.weights, batch.times, batch.ids)
    running.log.append(topic or running.topic, messages(batch, 1))


@pytest.fixture(scope="module")
def drifting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with watched(tmp_path_factory.mktemp("drifting")) as running:
        yield running


def test_while_a_stream_drifts_the_alarm_appears_by_itself(browser: Browser, drifting: Service) -> None:
    with opened(browser, drifting) as it:
        it.verdict("Waiting for the first event.")
        expect(it.page.get_by_role("img")).to_have_accessible_name(re.compile("No events yet"))
        it.page.evaluate("window.here = true")

        send(drifting, 1500)
        it.verdict(re.compile(r"Keeping up\. Accuracy 9\d\.\d.%"))
        curve = it.page.get_by_role("img")
        expect(curve).to_have_accessible_name(
            re.compile(r"Accuracy from event \d+ to 1,500: now 9\d\.\d.%, frozen baseline")
        )
        expect(curve.locator("canvas")).to_be_visible()
        expect(it.page.locator("#alarms")).to_contain_text("No drift detected in 1,500 events")

        send(drifting, 600, turned=True)
        alarm = it.page.locator("#alarms li").first
        expect(alarm).to_contain_text("Concept drift", timeout=WAIT)
        expect(alarm).to_contain_text(re.compile(r"Concept drift since event 1,5\d\d \(\d\d:\d\d, .*\): loss"))
        expect(alarm).to_contain_text(re.compile("Rolled back to version|snapshot from before"))
        expect(it.page.get_by_role("status").filter(has_text="New alarm")).to_contain_text(
            "m: Concept drift since event 1,5"
        )
        expect(it.page.get_by_role("group", name="Drift timeline").get_by_role("button")).to_have_count(1)
        assert it.page.evaluate("window.here")  # the page was not loaded again
        assert it.asked.count(it.origin) == 1


def test_with_a_token_a_snapshot_is_saved_and_rolled_back_to(browser: Browser, drifting: Service) -> None:
    with opened(browser, drifting) as it:
        page = it.page
        page.get_by_role("button", name="Save snapshot").click()
        page.get_by_role("textbox", name="Token").fill("not the one, but long enough")
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_role("dialog")).to_contain_text("not accepted")
        page.get_by_role("textbox", name="Token").fill(TOKEN)
        page.get_by_role("button", name="Continue").click()
        expect(page.locator("#act-result")).to_have_text(re.compile(r"Saved as version \d+\."), timeout=WAIT)
        version = drifting.snapshots().manifests()[-1].version
        assert page.locator("#act-result").inner_text() == f"Saved as version {version}."

        page.get_by_role("button", name=f"Roll back to version {version}", exact=True).click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text(f"Roll m back to version {version}?")
        dialog.get_by_role("button", name="Cancel").click()
        assert drifting.snapshots().manifests()[-1].version == version

        page.get_by_role("button", name=f"Roll back to version {version}", exact=True).click()
        dialog.get_by_role("button", name="Roll back").click()
        expect(page.locator("#act-result")).to_contain_text(f"Rolled back to version {version}", timeout=WAIT)
        assert drifting.snapshots().manifests()[-1].parent == version

        assert page.evaluate("Object.values(sessionStorage)") == [TOKEN]
        assert page.evaluate("localStorage.length") == 0
        assert TOKEN not in page.url
        assert not any(TOKEN in url for url in it.asked)
        assert [text for text in it.complaints if "401" not in text] == []
        it.complaints.clear()  # the browser itself writes down that one answer was a 401


def test_all_can_be_done_by_keyboard(browser: Browser, drifting: Service) -> None:
    with opened(browser, drifting) as it:
        page = it.page
        page.locator("body[data-shown=m]").wait_for()
        focused = page.locator(":focus")

        page.keyboard.press("Tab")
        expect(focused).to_have_text("Skip to the model")
        page.keyboard.press("Enter")
        expect(focused).to_have_attribute("id", "model")

        seen = []
        for _ in range(30):
            page.keyboard.press("Tab")
            seen.append(focused.get_attribute("aria-label") or focused.inner_text())
            if seen[-1].startswith("Roll back"):
                break
        assert "Save snapshot" in seen
        assert any(name.startswith("Alarm 1: Concept drift since event") for name in seen)
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_contain_text(seen[-1].removeprefix("Roll back to "))
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(focused).to_have_attribute("aria-label", seen[-1])  # back where one was

        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_contain_text("Token required")
        page.keyboard.type(TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator("#act-result")).to_contain_text("Rolled back to version", timeout=WAIT)


def test_a_screen_reader_finds_its_way(browser: Browser, drifting: Service) -> None:
    with opened(browser, drifting) as it:
        page = it.page
        page.locator("body[data-shown=m]").wait_for()
        for role, name in [("navigation", "Models"), ("main", "m"), ("region", "Snapshots"), ("region", "Drift")]:
            expect(page.get_by_role(role, name=name, exact=True)).to_have_count(1)  # type: ignore[arg-type]
        for role in ("banner", "contentinfo"):
            expect(page.get_by_role(role)).to_have_count(1)  # type: ignore[arg-type]
        levels = [int(tag[1]) for tag in page.locator("h1, h2, h3, h4").evaluate_all("all => all.map(e => e.tagName)")]
        assert levels[:2] == [1, 2]
        nameless = page.locator("main :is(button, a, input, pre, [role=img], [role=region], [role=group])")
        for element in nameless.all():
            expect(element).to_have_accessible_name(re.compile(r"\w"))
        assert page.locator("html").get_attribute("lang") == "en"


def test_dead_letters_are_shown_and_whatever_is_in_them_does_nothing(browser: Browser, drifting: Service) -> None:
    hostile = b'<img src=x onerror="window.hit = true"><script>window.hit = true</script>'
    drifting.log.append(
        drifting.topic, [Message(hostile), Message(b'{"inputs": {"features": [1]}}'), Message(b"\xff\x00")]
    )
    until("dead letters", lambda: drifting.metric("thalweg_events_dead_lettered_total", reason="malformed"))
    with opened(browser, drifting) as it:
        page = it.page
        page.evaluate(f"sessionStorage.setItem('thalweg-token', '{TOKEN}')")
        expect(page.locator("#reasons")).to_contain_text("malformed", timeout=WAIT)

        page.get_by_role("button", name="Show the newest").click()
        letters = page.locator("#letters")
        expect(letters.locator("li")).to_have_count(3)
        for summary in letters.locator("summary").all():
            summary.click()

        assert hostile.decode() in letters.inner_text()
        assert '"features": [' in letters.inner_text()
        assert "ff 00" in letters.inner_text()
        assert letters.locator("img, script").count() == 0
        assert page.evaluate("window.hit") is None


@pytest.mark.slow(8)
def test_the_page_says_when_the_service_is_gone_and_reconnects(browser: Browser, tmp_path: Path) -> None:
    with service(tmp_path, more=DRIFT) as running:
        learner, server = running.start("learn"), running.start("serve")
        until("readiness", running.ready)
        send(running, 300)
        with opened(browser, running) as it:
            it.verdict("Keeping up.")

            stop(server)
            banner = it.page.get_by_role("alert")
            expect(banner).to_have_text(
                re.compile(r"Disconnected since \d\d:\d\d:\d\d; showing the last values\. Retrying\."),
                timeout=WAIT,
            )
            it.verdict("Keeping up.")  # what was known stays

            running.start("serve")
            expect(banner).to_be_hidden(timeout=WAIT)
            send(running, 100)
            expect(it.page.locator("#vitals")).to_contain_text("400", timeout=WAIT)

            stop(learner)
            it.verdict(re.compile(r"Learner not responding since \d\d:\d\d:\d\d: the learner process has ended\."))
            assert all("ERR_CONNECTION_REFUSED" in text for text in it.complaints)
            it.complaints.clear()


def test_without_labels_quality_is_unknown_and_without_a_token_file_the_buttons_are_off(
    browser: Browser, tmp_path: Path
) -> None:
    with watched(tmp_path, token=False) as running, opened(browser, running) as it:
        save = it.page.get_by_role("button", name="Save snapshot")
        expect(save).to_be_disabled(timeout=WAIT)
        expect(save).to_have_accessible_description(re.compile("no token_file"))
        expect(it.page.get_by_role("button", name="Roll back to version 0")).to_be_disabled()

        send(running, 500, labels=False)
        it.verdict("Quality unknown: no labels received.")
        expect(it.page.get_by_role("img")).to_have_accessible_name(re.compile("Quality unknown"))
        expect(it.page.locator("#models")).to_contain_text("no labels")


def test_curve_and_timeline_say_the_same_in_lines_in_words_and_as_a_table(browser: Browser, tmp_path: Path) -> None:
    """The learner's file is written by hand here: events of another decade, figures that are not there, markup."""
    points = [[100 * n, 1.0e9 + 60 * n, 0.9 if n < 30 else 0.4, None if n < 10 else 0.7] for n in range(1, 61)]
    common = {"peak": 0, "start_time": 1.0e9, "severity": 0.5, "signals": [], "action": "observe", "done": ""}
    alarms = [
        {"number": 1, "since": 10, "start": 50, "end": 60, "kind": "inputs", "detector": "ks", "signal": "inputs"},
        {"number": 2, "since": 3000, "start": 3100, "end": 4000, "kind": "both", "detector": "adwin", "signal": "loss"},
        {"number": 3, "since": 5000, "start": 5100, "end": None, "kind": "concept", "detector": "new", "signal": "odd"},
    ]
    features = [{"name": "<img src=x onerror=window.hit=1>" + "y" * 300, "distance": 0.25}]
    told = {
        "m": {
            "time": time.time(),
            "events": 6000,
            "curve": {"metric": "accuracy", "higher_is_better": True, "points": points},
            "drift": {"alarms": [{**alarm, **common, "features": features} for alarm in alarms]},
        }
    }
    with service(tmp_path) as running:
        running.start("serve")
        until("the server", lambda: running.get("/healthz")[0] == 200)
        (running.folder / "state" / "live" / STATUS_FILE).write_text(json.dumps(told))
        with opened(browser, running) as it:
            page = it.page
            words = "Accuracy from event 100 to 6,000: now 40.0\u00a0%, frozen baseline 70.0\u00a0%."
            expect(page.locator("figcaption")).to_contain_text(words, timeout=WAIT)
            expect(page.get_by_role("img")).to_have_accessible_name(re.compile("Worst value 40.0.% at event 3,000"))
            page.get_by_text("Show the chart as a table").click()
            rows = page.locator("#curve-table tbody tr")
            expect(rows.first).to_contain_text(re.compile(r"100\s*9 Sept? 2001, \d\d:\d\d:\d\d\s*90.0.%\s*–"))
            expect(rows.last).to_contain_text("6,000")

            plot, marks = page.locator(".u-over").bounding_box(), page.locator("#timeline button")
            expect(marks).to_have_count(2)  # the first is from before the curve
            found = marks.last.bounding_box()
            assert plot is not None
            assert found is not None
            assert found["x"] == pytest.approx(plot["x"] + plot["width"] * 4900 / 5900, abs=3)
            assert found["x"] + found["width"] == pytest.approx(plot["x"] + plot["width"], abs=3)

            marks.last.click()
            expect(page.locator(":focus")).to_contain_text("Firing. Concept drift since event 5,000 (9 Sep")
            expect(page.locator("#alarms li").last).to_contain_text("Input drift since event 10")
            assert page.evaluate("window.hit") is None
            page.set_viewport_size({"width": 360, "height": 700})
            page.wait_for_timeout(300)
            wide, there = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
            assert wide <= there


def test_the_first_line_says_what_quality_is_measured_against(browser: Browser, tmp_path: Path) -> None:
    """The learner's file is written by hand here."""
    ended = {"number": 1, "since": 4110, "start": 4150, "end": 4200, "kind": "concept", "detector": "adwin"}
    ended |= {"signal": "loss", "peak": 0, "start_time": 1.0e9, "severity": 0.5, "signals": [], "features": []}
    ended |= {"action": "observe", "done": "", "quality_before": 0.92, "quality_after": 0.62}
    lost = {"alarm": 1, "since": 4110, "metric": "accuracy", "before": 0.92, "now": 0.62, "recovered": False}
    back = {"at": 5000, "how": "rolled back to version 3", "before": 0.62}
    points = [[100 * n, 1.0e9 + 60 * n, 0.6, 0.5] for n in range(1, 61)]
    quality = {"quality": "accuracy", "recent": {"accuracy": 0.62}, "frozen_recent": {"accuracy": 0.5}}
    common = {"events": 6000, "learned_events": 6000, "drift": {"alarms": [ended]}, **quality}
    common |= {"curve": {"metric": "accuracy", "higher_is_better": True, "points": points}}
    says = {
        "lost": ({"recovery": lost}, "Not recovered: accuracy\u00a062.0\u00a0%, was 92.0\u00a0% before event 4,110."),
        "floor": ({"quality_floor": 0.8, "floor_breached": True}, "Below the quality floor of 80.0\u00a0%."),
        "back": (
            {"replaced": back},
            "Rolled back to version 3 at event 5,000: accuracy\u00a062.0\u00a0% since, 62.0\u00a0% before.",
        ),
        "empty": (
            {"replaced": back, "recent": {}},
            "Quality unknown: no labels since it was rolled back to version 3 at event 5,000; accuracy\u00a062.0",
        ),
        "guess": (
            {"controls_recent": {"majority": {"accuracy": 0.7}}, "recent_events": 900},
            "No better than a guess.",
        ),
        "unlabelled": ({"unlabelled_events": 1500, "continual": {"min_accuracy": 0.4}}, "Labels are missing."),
    }
    more = "".join(MORE.format(name=name) for name in says)
    with service(tmp_path, more=more) as running:
        running.start("serve")
        until("the server", lambda: running.get("/healthz")[0] == 200)
        live = running.folder / "state" / "live"
        for name in says:  # a version that answers: else the first line says that there is none
            publisher = FilePublisher(live / name)
            publisher.publish(
                new_learner(running.config.find(name)).predictor(), version=3, learned_events=9, event_time=1.0
            )
            publisher.close()
        health = {"time": time.time(), "started": 1.0, "pid": 1, "ended": False, "components": []}
        with opened(browser, running) as it:
            for name, (_, sentence) in says.items():
                told = {one: {"time": time.time(), **common, **changes} for one, (changes, _) in says.items()}
                (live / STATUS_FILE).write_text(json.dumps(told))
                (live / HEALTH_FILE).write_text(json.dumps({**health, "time": time.time()}))
                it.page.get_by_role("link", name=name, exact=True).click()
                it.verdict(sentence)
                assert ("Keeping up" in it.page.locator("#verdict").inner_text()) == (name == "back")
                assert "resolved" not in it.page.locator("#verdict").inner_text()
            expect(it.page.locator("#alarms li").first).to_contain_text(
                "Accuracy before: 92.0\u00a0%; after: 62.0\u00a0%."
            )
            expect(it.page.locator("#troubles")).to_contain_text("the newest 1,500 events came without one")
            expect(it.page.locator("#vitals")).to_contain_text("Minimum class accuracy, held-out events40.0\u00a0%")
            it.page.get_by_role("link", name="guess", exact=True).click()
            expect(it.page.locator("#vitals")).to_contain_text("Majority class, accuracy70.0\u00a0%")
            expect(it.page.locator("#models tr").last).to_contain_text("accuracy")  # the metric's name by its value


@pytest.mark.slow(8)
def test_twenty_models_fit_also_on_a_phone(browser: Browser, tmp_path: Path) -> None:
    names = [f"model-{number:02}" for number in range(18)] + [LONG]
    more = "".join(MORE.format(name=name) for name in names)
    with watched(tmp_path, DRIFT + more) as running:
        send(running, 1300)
        send(running, 300, topic="model-03.events")
        with opened(browser, running) as it:
            page = it.page
            rows = page.locator("#models tr")
            expect(rows).to_have_count(20, timeout=WAIT)
            send(running, 500, turned=True)
            expect(rows.first).to_contain_text("concept drift since event 1,3", timeout=WAIT)
            expect(page.locator("#overall")).to_contain_text("1 critical")

            page.get_by_role("link", name="m", exact=True).click()
            it.verdict("Concept drift since event 1,3")
            page.get_by_role("button", name="Quality", exact=True).click()
            expect(page.get_by_role("columnheader", name="Quality")).to_have_attribute("aria-sort", "ascending")
            page.get_by_role("link", name="model-03").click()
            expect(page.get_by_role("main")).to_have_accessible_name("model-03")
            expect(page.get_by_role("link", name="model-03")).to_have_attribute("aria-current", "true")
            page.go_back()
            expect(page.get_by_role("main")).to_have_accessible_name("m")
        for name in ("m", LONG):
            with opened(browser, running, f"/#model/{name}", width=360) as it:
                it.page.locator(f"body[data-shown='{name}']").wait_for()
                expect(it.page.get_by_role("main")).to_have_accessible_name(name)
                wide, there = it.page.evaluate(
                    "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
                )
                assert wide <= there
                last = it.page.locator("#models tr").last
                last.scroll_into_view_if_needed()
                expect(last).to_be_in_viewport(ratio=1)  # no list within the page that scrolls by itself
                list_height, shown = it.page.evaluate(
                    "(n => [n.scrollHeight, n.clientHeight])(document.querySelector('nav'))"
                )
                assert list_height <= shown


def test_a_hidden_page_sends_no_requests(browser: Browser, drifting: Service) -> None:
    with opened(browser, drifting) as it:
        it.page.locator("body[data-shown=m]").wait_for()
        it.page.evaluate(
            "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )
        it.page.wait_for_timeout(500)  # what was asked already may come
        before = len(it.asked)
        it.page.wait_for_timeout(4000)
        assert len(it.asked) == before

        it.page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
        started = time.monotonic()
        while len(it.asked) == before:
            it.page.wait_for_timeout(50)
            assert time.monotonic() - started < PATIENCE


def test_where_reading_takes_a_token_the_page_asks_for_one_and_then_shows_the_models(
    browser: Browser, tmp_path: Path
) -> None:
    (tmp_path / "tokens").write_text(f"{TOKEN} roles=read\n")
    with served(tmp_path, tokens=Tokens(tmp_path / "tokens")) as parts:
        page = browser.new_page()
        try:
            page.goto(f"http://127.0.0.1:{parts.server.http_port}/")
            expect(page.get_by_role("dialog")).to_contain_text("Reading takes a token here", timeout=WAIT)
            page.get_by_role("textbox", name="Token").fill("not the one, but long enough")
            page.get_by_role("button", name="Continue").click()
            expect(page.get_by_role("dialog")).to_contain_text("not accepted", timeout=WAIT)
            page.get_by_role("textbox", name="Token").fill(TOKEN)
            page.get_by_role("button", name="Continue").click()
            expect(page.locator("#connection")).to_have_text("live", timeout=WAIT)
            expect(page.locator("#service")).to_contain_text("Thalweg", timeout=WAIT)
        finally:
            page.close()
