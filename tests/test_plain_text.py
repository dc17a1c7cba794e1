"""Text of others within a line of ours."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hpsearch.plain_text import one_line


@given(text=st.text())
def test_it_is_one_line_of_what_can_be_seen(text: str) -> None:
    shown = one_line(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    assert (shown == text) == text.isprintable()


def test_characters_are_escaped_as_python_has_them() -> None:
    assert one_line("a\nb\\c\x1b[0m\u2028é 漢") == "a\\nb\\c\\x1b[0m\\u2028é 漢"
