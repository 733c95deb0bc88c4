"""The models of an alias on the page: who answers, how the others compare, and the button that promotes one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.ops.webpage.test_page_browser import MORE, TOKEN, WAIT, opened, send, watched
from tests.services.chromium import chromium
from tests.services.processes import required_or_skipped, until

pytestmark = pytest.mark.browser

ALIAS = """
[[alias]]
name = "three"
champion = "m"
challengers = ["other"]
promotion = "auto"
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=WAIT)
    with required_or_skipped(), chromium() as browser:
        yield browser


@pytest.mark.slow
def test_a_comparison_is_shown_and_a_click_promotes_after_it_was_confirmed(browser: Browser, tmp_path: Path) -> None:
    other = MORE.format(name="other").replace("other.events", "m.events")
    with watched(tmp_path, other + ALIAS) as running, opened(browser, running, "/#model/m") as it:
        page = it.page
        send(running, 60)
        rows = page.locator("#champions tbody tr")
        expect(page.locator("#champions")).to_contain_text("three: m answers.")
        expect(rows.nth(1).locator("td").first).to_have_text("60", timeout=WAIT)
        expect(rows.nth(0)).to_contain_text("champion")
        assert rows.nth(0).get_by_role("button").count() == 0

        button = page.get_by_role("button", name="Promote other to champion of three")
        button.click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("Promote other to champion of three?")
        dialog.get_by_role("button", name="Cancel").click()
        button.click()
        dialog.get_by_role("button", name="Promote").click()
        page.get_by_role("textbox", name="Token").fill(TOKEN)
        page.get_by_role("button", name="Continue").click()

        expect(page.locator("#champions-result")).to_have_text("other answers as three.", timeout=WAIT)
        expect(page.locator("#champions")).to_contain_text(
            re.compile(r"three: other answers since .*, promoted by an operator\."), timeout=WAIT
        )
        until("it is counted", lambda: running.metric("thalweg_promotions_total", alias="three") == 1)


@pytest.mark.slow
def test_a_model_without_an_alias_has_no_such_section(browser: Browser, tmp_path: Path) -> None:
    with watched(tmp_path) as running, opened(browser, running, "/#model/m") as it:
        expect(it.page.locator("#versions-title")).to_be_visible()
        expect(it.page.locator("#champions-section")).to_be_hidden()
