"""YAML as users mean it, and every file that is none."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from hpsearch.spec import SpecError, load
from hpsearch.spec.yaml_text import parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("-1.e+3", -1000.0),
        (".5", 0.5),
        ("12", 12),
        ("010", 10),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        (".inf", math.inf),
        ("-.inf", -math.inf),
    ],
)
def test_scalars_are_what_users_mean(text: str, value: object) -> None:
    found = parse_yaml(text, "f")
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "text", ["yes", "no", "on", "off", "y", "12:30", "2020-01-01", "0x1f", "e"]
)
def test_what_only_looks_like_another_type_stays_text(text: str) -> None:
    assert parse_yaml(text, "f") == text


def test_nan_is_read_as_a_number_for_a_rule_to_refuse() -> None:
    assert math.isnan(parse_yaml(".nan", "f"))


REFUSED = {
    "syntax": ("a: 1\nb: [1", "line 2", "is no YAML"),
    "tab": ("a: 1\n\tb: 2", "line 2", "is no YAML"),
    "alias": ("a: &x [1]\nb: *x", "line 2", "an alias is not taken"),
    "same key": ("a: 1\nb: 2\na: 3", "line 3", "'a' is given twice"),
    "two documents": ("a: 1\n---\nb: 1", "line 2", "is no YAML"),
    "object": ("a: !!python/object:os.system x", "line 1", "the tag tag:yaml.org,2002:python"),
    "tag of a list": ("a: !!map x", "line 1", "is not taken"),
    "tag that does not fit": ("a: !!int x", "line 1", "must be of type int"),
    "list as a key": ("? [a]\n: 1", "line 1", "a key must be a name"),
    "deep": ("[" * 5000, "", "is nested too deeply"),
    "control character": ("a: \x07", "", "is no YAML"),
    "endless number": ("a: " + "1" * 5000, "line 1", "must be of type int"),
}


@pytest.mark.parametrize(("text", "key", "rule"), REFUSED.values(), ids=REFUSED.keys())
def test_bad_yaml_is_told_with_its_line(text: str, key: str, rule: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_yaml(text, "f.yaml")
    (problem,) = caught.value.problems
    assert (problem.file, problem.key) == ("f.yaml", key)
    assert rule in problem.rule
    assert "\n" not in str(problem)


def test_all_keys_given_twice_are_told() -> None:
    with pytest.raises(SpecError) as caught:
        parse_yaml("a: 1\na: 2\nb:\n  c: 1\n  c: 1", "f")
    assert [problem.key for problem in caught.value.problems] == ["line 2", "line 5"]


FILES = {
    "empty": (b"", "is empty"),
    "comment": (b"# nothing\n", "is empty"),
    "list": (b"- a", "must be a mapping"),
    "text": (b"a", "must be a mapping"),
    "latin-1": ("näme: x".encode("latin-1"), "must be text in UTF-8"),
    "large": (b"a: " + b"x" * 1_000_000, "is larger than 1 MB"),
}


@pytest.mark.parametrize(("content", "rule"), FILES.values(), ids=FILES.keys())
def test_a_file_that_is_no_spec_is_refused_by_name(
    content: bytes, rule: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        load(file)
    (problem,) = caught.value.problems
    assert problem.file == "mine.yaml"
    assert rule in problem.rule


@pytest.mark.parametrize(
    ("name", "closest"),
    [("digts", "digits"), ("specs/digits.yaml", "digits"), ("a\0b", None), ("x" * 5000, None)],
)
def test_a_missing_file_is_told_with_the_packaged_spaces(name: str, closest: str | None) -> None:
    with pytest.raises(SpecError, match="there is no such file") as caught:
        load(name)
    (problem,) = caught.value.problems
    assert "digits" in problem.rule
    assert problem.closest == closest


def test_a_folder_is_not_taken_for_a_packaged_space(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load("digits").name == "digits"


def test_a_file_of_the_working_folder_goes_before_a_packaged_space(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("digits").write_text("name: 3")
    with pytest.raises(SpecError, match="digits: name: must be a letter"):
        load("digits")
