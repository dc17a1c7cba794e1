"""The report in a browser: every plot is drawn, nothing is said in the console, and it fits."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from reported import stored
from test_page import evil_search

from hpsearch.report.document import write_report

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
MOST_S = 60.0
SCREENS = [(390, "dark"), (1280, "light")]


@dataclass
class Seen:
    """A page that is open, and what it complained of, asked for, and popped up."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def count(self, selector: str) -> int:
        return int(self.page.locator(selector).count())


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The reports of a healthy search, and of one whose every word is HTML."""
    folder = tmp_path_factory.mktemp("reports")
    found = {}
    for name, make in (("healthy", stored), ("evil", evil_search)):
        reading = make(f"sqlite:///{folder / name}.db")
        found[name] = folder / f"{name}.html"
        write_report(reading.frames, reading.record.id, found[name])
    return found


def opened(browser: Any, file: Path, width: int, scheme: str) -> Seen:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    seen = Seen(page)
    page.on("console", lambda said: seen.complaints.append(f"{said.type}: {said.text}"))
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on("request", lambda request: seen.requests.append(request.url))

    def dismiss(dialog: Any) -> None:
        seen.dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-drawn]")
    return seen


@pytest.fixture(scope="module", params=SCREENS, ids=["phone, dark", "desk, light"])
def healthy(request: pytest.FixtureRequest, browser: Any, files: dict[str, Path]) -> Iterator[Seen]:
    seen = opened(browser, files["healthy"], *request.param)
    yield seen
    seen.page.close()


def test_every_plot_is_drawn_and_nothing_is_complained_of(healthy: Seen) -> None:
    assert healthy.complaints == []
    plots = healthy.count(".plotly-graph-div")
    assert plots > 10
    has_marks = "plot.querySelector('.main-svg') && plot.querySelector('.trace, .heatmaplayer')"
    every = f"[...document.querySelectorAll('.plotly-graph-div')].every(plot => {has_marks})"
    assert healthy.page.evaluate(every)


def test_nothing_is_asked_of_the_network(healthy: Seen) -> None:
    assert all(url.startswith(("file:", "data:", "blob:")) for url in healthy.requests)


def test_the_page_is_no_wider_than_the_screen(healthy: Seen) -> None:
    assert healthy.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_theme_is_that_of_the_reader(healthy: Seen) -> None:
    is_dark = healthy.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    background = healthy.page.evaluate("getComputedStyle(document.body).backgroundColor")
    text = healthy.page.locator(".xtitle").first.evaluate("each => getComputedStyle(each).fill")
    light = [sum(map(int, _numbers(color))) > 384 for color in (background, text)]
    assert light == ([False, True] if is_dark else [True, False])


def test_plots_are_drawn_anew_when_the_theme_changes(healthy: Seen) -> None:
    ink = "(() => { const word = document.querySelector('.xtitle');"
    ink += " return word && getComputedStyle(word).fill })()"
    was_dark = healthy.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    before = healthy.page.evaluate(ink)
    healthy.page.emulate_media(color_scheme="light" if was_dark else "dark")
    _wait_until(healthy, f"{ink} && {ink} !== '{before}'")
    healthy.page.emulate_media(color_scheme="dark" if was_dark else "light")
    _wait_until(healthy, f"{ink} === '{before}'")


def _wait_until(seen: Seen, holds: str) -> None:
    """Asked from here: the page's own policy forbids that a text is run in it again and again."""
    ends_s = time.monotonic() + MOST_S
    while not seen.page.evaluate(holds):
        assert time.monotonic() < ends_s, holds
        time.sleep(0.05)


def test_print_has_the_light_theme(browser: Any, files: dict[str, Path]) -> None:
    seen = opened(browser, files["healthy"], 390, "dark")
    seen.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    seen.page.emulate_media(media="print")
    text = seen.page.locator(".xtitle").first.evaluate("each => getComputedStyle(each).fill")
    background = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, _numbers(text))) < 384 < sum(map(int, _numbers(background)))
    seen.page.close()


def test_words_of_users_that_are_html_run_nothing(browser: Any, files: dict[str, Path]) -> None:
    seen = opened(browser, files["evil"], 1280, "light")
    assert (seen.complaints, seen.dialogs) == ([], [])
    assert "<script>alert(1)</script>" in seen.page.title()
    shown = seen.page.locator(".xtitle").all_text_contents()
    assert "<b>rate</b>" in shown  # as it is written, and not in bold
    assert seen.count("main img, main b, main i") == 0
    seen.page.close()


def _numbers(color: str) -> list[str]:
    return color.removeprefix("rgba(").removeprefix("rgb(").rstrip(")").split(",")[:3]
