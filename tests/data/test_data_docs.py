from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import yaml

from workers.data import PREPROCESS, SOURCES, DataConfig
from workers.data.config import TASKS
from workers.data.preprocess import LEAST_SHARE, MOST_ROTATED

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()


def test_the_page_shows_every_source_with_a_section_that_is_legal() -> None:
    sections = [
        yaml.safe_load(block)["data"] for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    ]
    configs = [config_of(section) for section in sections]
    assert tuple(config.source for config in configs) == SOURCES
    assert {config.task for config in configs} == set(TASKS)
    assert 5 in {config.folds for config in configs}


def config_of(section: dict[str, Any]) -> DataConfig:
    """As ``hpsearch.spec`` reads it."""
    preprocess = tuple(section.pop("preprocess", ()))
    if isinstance(section.get("validation"), dict):
        section |= section.pop("validation")
    return DataConfig(**section, preprocess=preprocess)


def test_the_page_names_every_field_task_and_preprocessing() -> None:
    fields = {field.name for field in dataclasses.fields(DataConfig)} - {"folds"}
    for name in (*fields, *SOURCES, *TASKS, *PREPROCESS):
        assert f"`{name}`" in PAGE
    assert "{folds: " in PAGE
    assert f"at most {MOST_ROTATED} features" in PAGE
    assert f"{LEAST_SHARE:.0e}".replace("-0", "-") in PAGE


def test_the_python_of_the_page_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    names: dict[str, object] = {}
    exec(code, names)
    assert names["dataset"].x_train.shape == (1438, 8, 8)  # type: ignore[attr-defined]
    assert names["folds"].fold_rows.shape == (5, 359)  # type: ignore[attr-defined]
