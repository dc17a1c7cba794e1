"""hpsearch dashboard --optuna: what it says, what it refuses, and its pages in a browser."""

from __future__ import annotations

import json
import math
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from command_line import Hpsearch
from stored_searches import PARAMS, SPACE, a_report, a_spec, a_stage, a_trial, begin

from hpsearch.integrations.optuna_live import READ_ONLY
from hpsearch.spec.space import Choice, Space
from hpsearch.storage.database import Database

URL = "sqlite:///hpsearch.db"
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
FLAGS += ["--disable-component-update", "--disable-sync"]
HTML = "<img src=x onerror=alert(1)>"
WAIT_MS = 120_000

needs_extra = pytest.mark.skipif(
    find_spec("optuna_dashboard") is None,
    reason="optuna-dashboard is not installed (extra hpsearch[dashboard])",
)


@contextmanager
def serving(*words: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The command in a process of its own, and the address that it prints."""
    command = [sys.executable, "-m", "hpsearch", "dashboard", "--optuna", "--port", "0", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip().removesuffix("/dashboard"), process
        finally:
            process.kill()


def got(url: str) -> Any:
    with urlopen(url, timeout=60) as answer:
        return json.load(answer)


@needs_extra
def test_it_serves_a_running_search_refuses_writes_and_ends_on_ctrl_c(hpsearch: Hpsearch) -> None:
    writer = begin(Database(URL))
    with serving() as (address, process):
        assert address.startswith("http://127.0.0.1:")
        (study,) = got(f"{address}/api/studies")["study_summaries"]
        assert study["study_name"] == "digits"
        detail = got(f"{address}/api/studies/1?after=0")
        assert [trial["state"] for trial in detail["trials"]] == ["Waiting"] * 4
        for method, path in [
            ("PUT", "/api/studies/1/note"),
            ("POST", "/api/studies/1/preference"),
            ("POST", "/api/studies"),
            ("POST", "/api/studies/1/rename"),
            ("DELETE", "/api/studies/1"),
            ("POST", "/api/trials/1/tell"),
        ]:
            with pytest.raises(HTTPError) as refused:
                urlopen(Request(address + path, data=b'{"body": "x"}', method=method))
            assert refused.value.code == 403
            assert json.load(refused.value) == {"reason": READ_ONLY}
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "Ctrl-C ends these pages, and no search\n"
    assert {trial.state for trial in writer.stored()} == {"waiting"}


@needs_extra
def test_a_database_that_goes_away_is_told_in_a_line(hpsearch: Hpsearch) -> None:
    begin(Database(URL)).repository.database.close()
    with serving() as (address, process):
        got(f"{address}/api/studies")
        Path("hpsearch.db").write_bytes(b"no database any more" * 500)
        for rest in ("-wal", "-shm"):
            Path(f"hpsearch.db{rest}").unlink(missing_ok=True)
        with pytest.raises(HTTPError):
            got(f"{address}/api/studies")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert "cannot be used" in err
    assert "Traceback" not in err
    assert "File " not in err


def test_without_the_extra_it_says_how_to_install_it(
    hpsearch: Hpsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(Database(URL))
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    code, out, err = hpsearch("dashboard", "--optuna")
    assert (code, out) == (1, "")
    assert err.startswith("Error: optuna-dashboard must be installed to be served, but is not (")
    assert err.endswith("pip install 'hpsearch[dashboard]'\n")


@needs_extra
def test_a_port_that_is_taken_is_said_in_a_sentence(hpsearch: Hpsearch) -> None:
    begin(Database(URL))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, out, err = hpsearch("dashboard", "--optuna", "--port", port)
    assert (code, out) == (1, "")
    assert f"127.0.0.1:{port} cannot be had (Address already in use)" in err
    assert "give another --port" in err


@needs_extra
def test_so_is_a_host_of_another_machine(hpsearch: Hpsearch) -> None:
    begin(Database(URL))
    code, _, err = hpsearch("dashboard", "--optuna", "--host", "192.0.2.1")
    assert code == 1
    assert err.count("\n") == 1
    assert "192.0.2.1:8080 cannot be had" in err
    assert "correct --host" in err


@needs_extra
def test_so_is_a_database_that_is_not_there(hpsearch: Hpsearch) -> None:
    code, _, err = hpsearch("dashboard", "--optuna", "--db", "sqlite:///none.db")
    assert code == 1
    assert "there is no database" in err
    assert not Path("none.db").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("--optuna", "--ray", "127.0.0.1:9"),
        ("--port", "80"),
        ("--host", "0.0.0.0"),
        ("--db", URL),
        ("--optuna", "--port", "70000"),
    ],
    ids=" ".join,
)
def test_options_of_the_other_dashboard_are_wrong_usage(
    words: tuple[str, ...], hpsearch: Hpsearch
) -> None:
    code, _, err = hpsearch("dashboard", *words)
    assert code == 2
    assert "Error: " in err


def a_thousand_trials() -> None:
    """A search of them, ten epochs each, with HTML wherever a user can have it; two others."""
    draw = random.Random(0)
    names = Choice(choices=("sgd", "momentum", HTML))
    space = Space(parameters={**SPACE.parameters, "optimizer": names})
    database = Database(URL)
    begin(database, num_trials=0, spec=a_spec("empty"))
    writer = begin(database, num_trials=0, spec=a_spec(f"large{HTML}", space=space))
    repository, lease = writer.repository, writer.lease
    given = [
        {
            **PARAMS,
            "learning_rate": 10 ** draw.uniform(-6, -1),
            "optimizer": draw.choice(names.choices),
        }
        for _ in range(1000)
    ]
    new = [a_trial(n, params=p, branch=f"optimizer={p['optimizer']}") for n, p in enumerate(given)]
    _, trials = repository.open_stage(lease, a_stage(1, branches=space.branches()), new)
    repository.start_group(lease, [trial.id for trial in trials], "worker")
    for epoch in range(1, 11):
        values = {t.id: 1 - math.exp(-epoch * abs(math.sin(t.number))) for t in trials[:-1]}
        ends = "complete" if epoch == 10 else "running"
        repository.commit_report(lease, a_report(epoch, values, ends))
    why = {"failure_kind": "error", "failure_message": f"it raised {HTML}"}
    repository.commit_report(lease, a_report(1, {trials[-1].id: math.nan}, "failed", **why))


@pytest.fixture
def page(hpsearch: Hpsearch) -> Iterator[Any]:
    """A tab of Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}")
    with playwright.sync_playwright() as runs:
        browser = runs.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        tab = browser.new_page(viewport={"width": 1400, "height": 1000})
        tab.set_default_timeout(WAIT_MS)
        yield tab
        browser.close()


@needs_extra
def test_a_browser_shows_a_search_of_a_thousand_trials(page: Any, tmp_path: Path) -> None:
    a_thousand_trials()
    wrong: list[str] = []
    page.on("console", lambda said: said.type == "error" and wrong.append(said.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(f"HTML was run: {dialog.message}"))
    with serving() as (address, process):
        page.goto(f"{address}/dashboard")
        page.get_by_text("empty").wait_for()
        page.get_by_text(f"large{HTML}").wait_for()
        page.screenshot(path=str(tmp_path / "studies.png"))

        page.goto(f"{address}/dashboard/studies/2")
        points = page.locator("#plot-history .scatterlayer .point")
        points.first.wait_for()
        assert points.count() == 999
        page.screenshot(path=str(tmp_path / "study.png"))

        page.goto(f"{address}/dashboard/studies/2/trials?numbers=999")
        page.get_by_text(f"it raised {HTML}").wait_for()
        page.get_by_text("learning_rate").wait_for()
        page.screenshot(path=str(tmp_path / "trial.png"))

        page.goto(f"{address}/dashboard/studies/1")
        page.get_by_text("empty").first.wait_for()
        page.screenshot(path=str(tmp_path / "empty.png"))
        assert wrong == []

        page.goto(f"{address}/dashboard/studies/1/note")
        page.locator("button:has(svg[data-testid=EditIcon])").first.click()
        page.locator("textarea").first.fill("a note")
        page.get_by_role("button", name="Save").click()
        page.get_by_text(READ_ONLY).wait_for()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert err == "Ctrl-C ends these pages, and no search\n"
