"""The report in a browser: every plot is drawn, nothing is said in the console, and it fits."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from reported import stored
from test_page import evil_search

from hpsearch.report.document import write_report
from hpsearch.report.reading import Reading
from hpsearch.spec.reason import Reason

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
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
    for name, make in (("healthy", healthy_search), ("evil", evil_search)):
        reading = make(f"sqlite:///{folder / name}.db")
        found[name] = folder / f"{name}.html"
        write_report(reading.frames, reading.record.id, found[name])
    return found


def healthy_search(url: str) -> Reading:
    """With a reason that is a table's long text."""
    told = "learning_rate: the best trials lie closely together, from 0.005 to 0.02: narrowed"
    narrowed = Reason(
        branch="optimizer=adam",
        parameter="learning_rate",
        action="narrowed",
        old=None,
        new=None,
        text=told,
        evidence={},
    )
    return stored(url, reasons=[narrowed])


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
    was_dark = healthy.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    before = _ink(healthy)
    healthy.page.emulate_media(color_scheme="light" if was_dark else "dark")
    _wait(lambda: _ink(healthy) not in (before, None), healthy)
    healthy.page.emulate_media(color_scheme="dark" if was_dark else "light")
    _wait(lambda: _ink(healthy) == before, healthy)


def test_print_has_the_light_theme(browser: Any, files: dict[str, Path]) -> None:
    seen = opened(browser, files["healthy"], 390, "dark")
    seen.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    seen.page.emulate_media(media="print")
    text = seen.page.locator(".xtitle").first.evaluate("each => getComputedStyle(each).fill")
    background = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, _numbers(text))) < 384 < sum(map(int, _numbers(background)))
    seen.page.close()


WIDER = "each => each.scrollWidth > each.clientWidth + 1"


def test_tables_that_are_wider_than_the_screen_say_so(healthy: Seen) -> None:
    tables = healthy.page.locator(".table")
    is_wide = [tables.nth(i).evaluate(WIDER) for i in range(tables.count())]
    says_so = ["scrolls" in tables.nth(i).evaluate("e => e.className") for i in range(len(is_wide))]
    assert says_so == is_wide
    if healthy.page.viewport_size["width"] == 390:
        first = is_wide.index(True)
        tables.nth(first).evaluate("each => { each.scrollLeft = each.scrollWidth }")
        _wait(lambda: "ends" in tables.nth(first).evaluate("e => e.className"), healthy)


def test_no_table_loses_its_columns_names(healthy: Seen) -> None:
    """Of a table whose rows are stacked on a phone each cell says its own."""
    content = "e => getComputedStyle(e, '::before').content"
    cells = healthy.page.locator("table.stacks td:not(:empty)")
    assert cells.count()
    is_phone = healthy.page.viewport_size["width"] == 390
    for i in range(cells.count()):
        name = cells.nth(i).get_attribute("data-of")
        told = cells.nth(i).evaluate(content)
        assert (f'"{name}' in told) == is_phone, told
    heads = healthy.page.locator("table:not(.stacks) thead")
    shown = "e => getComputedStyle(e).display"
    assert {heads.nth(i).evaluate(shown) for i in range(heads.count())} == {"table-header-group"}


def test_ticks_of_epochs_are_whole(healthy: Seen) -> None:
    ticks = "#curves .plot:first-of-type .xtick text"
    found = healthy.page.locator(ticks).all_text_contents()
    assert found
    assert all(float(text) == int(float(text)) for text in found)


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


def _ink(seen: Seen) -> str | None:
    """The colour of the first axis' title; None while a plot is drawn anew."""
    word = "const word = document.querySelector('.xtitle')"
    found = seen.page.evaluate(f"() => {{ {word}; return word && getComputedStyle(word).fill }}")
    return found or None


def _wait(reached: Callable[[], bool], seen: Seen) -> None:
    """Playwright's own waiting evaluates strings, which the page's policy forbids."""
    for _ in range(300):
        if reached():
            return
        seen.page.wait_for_timeout(50)
    raise AssertionError("the page does not come there")
