"""Writes docs/images/report.png: a part of a report as Chromium shows it.

Run as ``python docs/tools/make_report_picture.py REPORT.html``. Not part of `make docs`, for a
report has times in it that change with each search.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).parents[1] / "images" / "report.png"
WIDTH, HEIGHT = 1060, 1135
FIRST = "#importance"  # the section at the top of the picture


def main(report: Path) -> None:
    """Draw it, in the light theme."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(report.absolute().as_uri())
        page.wait_for_selector("html[data-drawn]")
        page.locator(FIRST).evaluate("each => each.scrollIntoView()")
        page.screenshot(path=PICTURE)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
