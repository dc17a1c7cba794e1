"""What a name that there is not is told with: the one that it is like, or those that there are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpsearch.errors import MOST_LISTED, closest, did_you_mean

NAMES = ("digits", "mnist_mlp", "mnist_cnn")


@pytest.mark.parametrize("name", ["digit", "DIGITS", "dgits", "digitss"])
def test_a_name_like_another_is_asked_for(name: str) -> None:
    assert did_you_mean(name, NAMES) == "did you mean 'digits'?"


@pytest.mark.parametrize("name", ["x", "", "cifar", 7, None, "z" * 10_000])
def test_no_name_is_guessed_where_none_is_close(name: object) -> None:
    assert did_you_mean(name, NAMES) == "there are 'digits', 'mnist_mlp', 'mnist_cnn'"
    assert did_you_mean(name, []) == "there are none"


def test_of_many_names_the_first_are_listed_and_the_others_counted() -> None:
    names = [f"search-{n:03}" for n in range(100)]
    told = did_you_mean("x", names)
    assert told.count("search-") == MOST_LISTED
    assert told.endswith(f"'search-{MOST_LISTED - 1:03}' and {100 - MOST_LISTED} more")


@pytest.mark.parametrize("name", ["HIDDENUNITS", "hiddenunits", "HiddenUnit", "hidden_units"])
def test_capitals_on_neither_side_matter(name: str) -> None:
    assert closest(name, ["HiddenUnits", "x"]) == "HiddenUnits"
    assert closest(name, ["x"]) is None
    assert closest("X", ["x", "X"]) == "x"  # of names that differ in capitals alone the first


@given(name=st.text(), names=st.lists(st.text(max_size=20), max_size=30))
def test_it_is_one_line_and_names_only_what_there_is(name: str, names: list[str]) -> None:
    told = did_you_mean(name, names)
    assert len(told.splitlines()) == 1
    if told.endswith("?"):
        assert told in {f"did you mean {each!r}?" for each in names}
    else:
        assert told.startswith("there are ")
