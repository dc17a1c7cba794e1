"""The docs say what is so: their examples run, every command is in them, no link is dead."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import click
import pytest

from hpsearch.cli.main import cli
from hpsearch.spec import load
from hpsearch.spec.reserved import RESERVED
from workers.config import DOMAINS, TrainConfig

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text()


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def test_the_readmes_notebook_runs_on_the_readmes_yaml(tmp_path: Path) -> None:
    (spec,) = _blocks(README, "yaml")
    (tmp_path / "my-search.yaml").write_text(spec)
    notebook, of_a_lab = _blocks(README, "python")
    here = {"postgresql://me@host/hpsearch": "sqlite:///hpsearch.db", '"digits"': '"my-search"'}
    for there, one_that_is_here in here.items():
        assert there in of_a_lab
        of_a_lab = of_a_lab.replace(there, one_that_is_here)
    for code in (notebook, of_a_lab):
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=300)


def test_the_page_on_a_model_of_ones_own_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "your-own-model.md").read_text()
    (nets, scoring), (spec, scored) = _blocks(page, "python"), _blocks(page, "yaml")
    (tmp_path / "nets.py").write_text(nets)
    (tmp_path / "scoring.py").write_text(scoring)
    fewer = ["--set", "stages.coarse.trials=8", "--set", "stages.fine.trials=8"]
    for name, text, more in (("own.yaml", spec, []), ("scored.yaml", spec + scored, fewer)):
        (tmp_path / name).write_text(text)
        command = [sys.executable, "-m", "hpsearch", "run", name, "--json", *more]
        run = subprocess.run(command, cwd=tmp_path, check=True, timeout=300, capture_output=True)
        assert json.loads(run.stdout)["best"][0]["value"] > 0.9
    (code,) = _blocks(page, "py")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=300)


def test_the_page_on_trainables_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "trainables.md").read_text()
    (module,), (spec,) = _blocks(page, "python"), _blocks(page, "yaml")
    (tmp_path / "mine.py").write_text(module)
    (tmp_path / "mine.yaml").write_text(spec)
    command = [sys.executable, "-m", "hpsearch", "run", "mine.yaml", "--json"]
    run = subprocess.run(command, cwd=tmp_path, check=True, timeout=300, capture_output=True)
    assert json.loads(run.stdout)["trials"] == {"complete": 10}


def test_the_readmes_yaml_is_about_ten_lines_and_loads(tmp_path: Path) -> None:
    (spec,) = _blocks(README, "yaml")
    assert len(spec.splitlines()) <= 12
    (tmp_path / "spec.yaml").write_text(spec)
    assert load(str(tmp_path / "spec.yaml")).stages


def test_the_readmes_yaml_loads_with_the_line_that_it_says_of_pruners(tmp_path: Path) -> None:
    (spec,), (line,) = _blocks(README, "yaml"), re.findall(r"A line more, `(.+?)`", README)
    (tmp_path / "spec.yaml").write_text(f"{spec}{line}\n")
    coarse, fine, confirm = load(str(tmp_path / "spec.yaml")).stages
    assert coarse.pruner is not None
    assert fine.pruner is not None
    assert confirm.pruner is None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_the_docs_exists(page: Path) -> None:
    for words in re.findall(r"\bhpsearch ([a-z-]+)(?: ([a-z-]+))?", "\n".join(_code(page))):
        assert words[0] in cli.commands, words
        command = cli.commands[words[0]]
        if isinstance(command, click.Group):
            assert words[1] in command.commands, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_link_is_dead(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_command_reference_is_fresh() -> None:
    from make_cli_reference import reference

    assert (ROOT / "docs" / "cli.md").read_text() == reference(), "run `make docs`"


def test_the_training_reference_is_fresh() -> None:
    from make_training_reference import page

    assert (ROOT / "docs" / "training.md").read_text() == page(), "run `make docs`"


def test_the_speed_tables_are_fresh() -> None:
    from make_speed_table import page

    assert page(README) == README, "run `make docs`"


def test_make_bench_runs_every_benchmark_but_that_of_a_gpu() -> None:
    files = (ROOT / "benchmarks").glob("*.py")
    runnable = {file.name for file in files if "Run as ``python" in file.read_text()}
    run = re.findall(r"python benchmarks/(\w+\.py)", (ROOT / "Makefile").read_text())
    assert {*run} == runnable - {"gpu.py"}


@pytest.mark.parametrize(
    "field", [f for f in fields(TrainConfig) if f.name in DOMAINS], ids=lambda field: field.name
)
def test_every_field_and_every_choice_says_what_it_is(field: Field[Any]) -> None:
    from make_training_reference import formulas

    assert len(field.metadata["help"]) > 10
    assert all(formula for formula in formulas(field.name).values())


def _code(page: Path) -> list[str]:
    text = page.read_text()
    return _blocks(text, "") + _blocks(text, "sh") + re.findall(r"`(hpsearch [^`]+)`", text)


def test_the_page_on_specs_names_every_objective_under_its_task() -> None:
    from workers.metrics import CLASS_OBJECTIVES, REGRESSION_OBJECTIVES

    page = (ROOT / "docs" / "specs.md").read_text()
    rows = {"classification": CLASS_OBJECTIVES, "regression": REGRESSION_OBJECTIVES}
    for task, objectives in rows.items():
        (row,) = re.findall(rf"^\| `data: {{task: {task}}}`.*$", page, flags=re.MULTILINE)
        _, _, higher, lower, _ = row.split("|")
        for mode, cell in (("max", higher), ("min", lower)):
            named = re.findall(r"`(\w+)`", cell)
            assert sorted(named) == sorted(n for n, m in objectives.items() if m == mode)


def test_the_page_on_specs_has_every_name_that_no_parameter_may_have() -> None:
    page = " ".join((ROOT / "docs" / "specs.md").read_text().split())
    (told,) = re.findall(r"may not have the name of one of ours: (.*?)\.", page)
    assert re.findall(r"`(\w+)`", told) == list(RESERVED)


def test_the_page_on_specs_has_every_column_of_curves() -> None:
    from hpsearch.analysis.layout import CURVES
    from workers.metrics import OBJECTIVES, PER_FOLD, PER_LAYER, WATCHED

    page = (ROOT / "docs" / "specs.md").read_text()
    start = page.index("**Curves.**")
    said, rows = page[start:].split("\n\n")[:2]
    table = re.findall(r"^\| `(\w+)` \|", rows, flags=re.MULTILINE)
    assert sorted(table) == sorted({*OBJECTIVES, *WATCHED, *PER_LAYER, *PER_FOLD})
    assert {*CURVES} == {*table, *re.findall(r"`(\w+)`", said)}


def test_the_page_on_specs_has_every_column_of_widths() -> None:
    from hpsearch.analysis.layout import WIDTHS

    page = (ROOT / "docs" / "specs.md").read_text()
    table = page[page.index("## Widths") : page.index("## The weights")]
    rows = re.findall(r"^\| (`.*?`) \|", table, flags=re.MULTILINE)
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == [*WIDTHS]


def test_the_page_on_specs_has_hyperbands_brackets_as_they_are() -> None:
    from hpsearch.sampling.pruners import bracket, rungs
    from hpsearch.spec.search import Pruner

    page = " ".join((ROOT / "docs" / "specs.md").read_text().split())
    assert "at 1, 3 and 9 and about 9 of 17" in page
    assert "the second at 3 and 9 and 5 of 17, the third at 9 and 3 of 17" in page
    pruner, total = Pruner(name="hyperband", options={"reduction_factor": 3}), 3000
    drawn = Counter(bracket(pruner, 18, "any", number) for number in range(total))
    shares = [9 / 17, 5 / 17, 3 / 17]
    assert [drawn[place] / total for place in range(3)] == pytest.approx(shares, abs=0.04)
    assert [rungs(pruner, 18, place) for place in range(3)] == [(1, 3, 9), (3, 9), (9,)]
    assert drawn.keys() == {0, 1, 2}


def test_the_page_on_specs_names_the_activations_that_die_and_saturate() -> None:
    from workers.training.models.activations import ACTIVATIONS

    page = (ROOT / "docs" / "specs.md").read_text()
    for column, mark in (("dead_fraction", "dead"), ("saturated_fraction", "saturated")):
        (unless,) = re.findall(rf"^\| `{column}` .*\| unless (.*) \|$", page, flags=re.MULTILINE)
        marked = {name for name, each in ACTIVATIONS.items() if getattr(each, mark) is not None}
        assert set(re.findall(r"`(\w+)`", unless)) == marked
