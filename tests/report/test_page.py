"""The page as a file: nothing of a user's is HTML in it, and nothing is loaded from outside."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reported import a_search, params, stored, value

from hpsearch.errors import HpsearchError
from hpsearch.report.document import write_report
from hpsearch.report.files import write
from hpsearch.report.interactive import figure
from hpsearch.report.page import cell, embedded, escaped, page
from hpsearch.report.panel import Axis, Marks, Panel
from hpsearch.report.reading import Reading
from hpsearch.report.section import Code, Legend, PngImage, Section, Table, Text
from hpsearch.report.ticks import LONGEST, log_ticks, shortened, whole_step
from hpsearch.spec.space import Choice, Range, Space
from hpsearch.storage.errors import StorageError
from hpsearch.storage.records import NewDiagnosis

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>'\"&"


class Tags(HTMLParser):
    """Counts tags, and keeps the text of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def tags(text: str) -> Tags:
    parser = Tags()
    parser.feed(text)
    return parser


def written(reading: Reading, tmp_path: Path) -> str:
    file = tmp_path / "report.html"
    write_report(reading.frames, reading.record.id, file)
    return file.read_text()


def evil_search(url: str) -> Reading:
    """A search in whose every word of a user there is HTML."""
    space = Space(
        parameters={
            "optimizer": Choice(choices=(EVIL, "adam")),
            "<b>rate</b>": Range(kind="log_uniform", low=1e-4, high=1.0),
            "<i>decay</i>": Range(kind="log_uniform", low=1e-6, high=1e-2),
        }
    )
    finding = NewDiagnosis(kind=EVIL, message=EVIL, evidence={})
    return stored(
        url,
        spec=a_search(EVIL, space=space),
        params_of=lambda n: {
            "optimizer": (EVIL, "adam")[n % 2],
            "<b>rate</b>": params(n)["learning_rate"],
            "<i>decay</i>": params(n)["weight_decay"],
        },
        value_of=value,
        fails=lambda n: EVIL if n % 7 == 0 else None,
        findings=[finding],
    )


def test_nothing_of_a_user_s_is_html(sqlite_url: str, tmp_path: Path) -> None:
    text = written(evil_search(sqlite_url), tmp_path)
    own = text[: text.index("<script>")] + text[text.index("<script>") :].split("</script>", 2)[2]
    assert "<script>alert" not in text
    assert "<img src=x" not in own
    found = tags(re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL))
    assert not {"b", "i"} & set(found.tags)
    assert "img" not in found.tags
    for embedded_json in re.findall(r'<script type="application/json">(.*?)</script>', text):
        assert "<" not in embedded_json
        json.loads(embedded_json)
    # plotly reads tags in the texts that it draws: they are escaped once more there
    assert "&lt;b&gt;rate" in text


def test_the_page_loads_nothing_from_elsewhere(sqlite_url: str, tmp_path: Path) -> None:
    text = written(stored(sqlite_url), tmp_path)
    found = tags(re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL))
    assert found.links
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in found.links)
    assert "default-src 'none'" in text
    assert not {"link", "iframe", "object"} & set(found.tags)


@pytest.mark.parametrize("value", [EVIL, {"a": [EVIL]}, 1.5, None])
def test_embedded_json_comes_back_as_it_went_in(value: object) -> None:
    text = embedded(value)
    assert "<" not in text
    assert json.loads(text) == value


def test_every_part_is_on_the_page() -> None:
    marks = Marks(x=[1.0], y=[2.0], name="a")
    parts = (
        Text("a text"),
        Code("x < y"),
        Legend((("#123456", "a name"),)),
        PngImage(b"png", "a picture"),
        Table(pd.DataFrame({"n": [1, 2], "text": ["short", "long " * 20]})),
        Table(pd.DataFrame({"n": [1.23456789]}), "folded away"),
        Panel(title="a panel", x=Axis(), y=Axis(), marks=(marks,), note="a note"),
    )
    text = page("title", "subtitle", [Section(key="key", title="Heading", parts=parts)])
    for expected in (
        "<h1>title</h1>",
        '<section id="key">',
        "<h2>Heading</h2>",
        "<p>a text</p>",
        "x &lt; y",
        "a name",
        "data:image/png;base64,cG5n",
        '<td data-of="n" class="number">1</td>',
        '<table class="stacks">',
        "<summary>folded away</summary>",
        "1.2346",
        "a panel",
        "a note",
    ):
        assert expected in text, expected


def test_missing_values_are_empty_cells_and_lists_are_read_as_lists() -> None:
    assert [cell(v) for v in (None, float("nan"), pd.NA, pd.NaT)] == ["", "", "", ""]
    assert cell((64, 32)) == "[64, 32]"
    assert escaped("<&>\"'") == "&lt;&amp;&gt;&quot;&#x27;"


def test_plotly_is_given_no_tags_of_a_user_s() -> None:
    marks = Marks(x=[1.0], y=[1.0], name=EVIL, words=[EVIL], numbers=[1])
    axis = Axis(title=EVIL, ticks=((1.0, EVIL),))
    panel = Panel(
        title=EVIL, x=axis, y=axis, marks=(marks,), labels=((0.0, 0.0, EVIL),), scale_title=EVIL
    )
    assert "<script" not in json.dumps(figure(panel))
    assert "<img" not in json.dumps(figure(panel))


# Where it is written


def test_a_report_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(HpsearchError, match="cannot"):
        write(tmp_path / ("x" * 300), b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("folder", "is a folder"), ("missing/report.html", "does not"), ("x" * 300, "cannot")],
)
def test_a_path_that_cannot_be_written_is_told_in_one_sentence(
    sqlite_url: str, tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / "folder").mkdir()
    reading = stored(sqlite_url, num_trials=2)
    with pytest.raises(HpsearchError, match=said) as told:
        write_report(reading.frames, reading.record.id, tmp_path / name)
    assert "\n" not in str(told.value)


def test_an_unknown_search_is_told_with_the_closest_name(sqlite_url: str, tmp_path: Path) -> None:
    reading = stored(sqlite_url, num_trials=2)
    with pytest.raises(StorageError, match="did you mean 'digits'"):
        write_report(reading.frames, "digit", tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_an_older_report_is_replaced(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("older")
    assert "older" not in written(stored(sqlite_url, num_trials=2), tmp_path)[:10]


@given(low=st.floats(1e-300, 1e300), decades=st.floats(0, 12))
def test_ticks_of_any_range_lie_in_it(low: float, decades: float) -> None:
    high = min(low * 10**decades, 1e300)
    high = max(low, high)
    ticks = log_ticks(low, high)
    assert all(low * (1 - 1e-6) <= place <= high * (1 + 1e-6) for place, _ in ticks)
    assert len({place for place, _ in ticks}) == len(ticks)
    if high >= 1.01 * low:
        assert 3 <= len(ticks) <= 12
    powers = ["<sup>" in text for _, text in ticks]
    assert all(powers) or not any(powers)


def test_ticks_of_a_log_axis_are_numbers_in_one_manner() -> None:
    assert [text for _, text in log_ticks(2e-3, 3e-2)] == ["0.002", "0.005", "0.01", "0.02"]
    assert [text for _, text in log_ticks(1e-6, 1e-3)] == [
        f"10<sup>{power}</sup>" for power in (-6, -5, -4, -3)
    ]
    assert [text for _, text in log_ticks(0.01, 100)] == ["0.01", "0.1", "1", "10", "100"]
    small = ["10<sup>-6</sup>", "2·10<sup>-6</sup>", "5·10<sup>-6</sup>"]
    assert [text for _, text in log_ticks(1e-6, 6e-6)] == small
    assert [place for place, _ in log_ticks(31, 33)] == pytest.approx([31, 31.5, 32, 32.5, 33])
    assert log_ticks(7, 7) == [(7.0, "7")]
    assert [text for _, text in log_ticks(0.97, 8, is_int=True)] == ["1", "2", "5"]
    assert [text for _, text in log_ticks(31, 33, is_int=True)] == ["31", "32", "33"]


def test_an_axis_of_few_whole_numbers_has_no_others() -> None:
    assert whole_step(1, 3) == whole_step(0, 10) == 1
    assert whole_step(1, 20) is None  # where plotly has whole ones by itself
    marks = Marks(x=[1.0, 2.0, 3.0], y=[0.1, 0.2, 0.3])
    drawn = figure(Panel(title="", x=Axis(is_int=True), y=Axis(), marks=(marks,)))["layout"]
    assert (drawn["xaxis"]["tick0"], drawn["xaxis"]["dtick"]) == (0, 1)
    assert "dtick" not in drawn["yaxis"]


@given(words=st.text(max_size=60))
def test_a_long_name_keeps_its_beginning_and_its_end(words: str) -> None:
    short = shortened(words)
    assert len(short) == min(len(words), LONGEST)
    if len(words) > LONGEST:
        end = LONGEST // 3
        assert short == words[: LONGEST - 1 - end] + "…" + words[-end:]
    else:
        assert short == words
