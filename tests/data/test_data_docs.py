from __future__ import annotations

import re
from pathlib import Path

import yaml

from workers.data import SOURCES, DataConfig

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()


def test_the_page_shows_every_source_with_a_section_that_is_legal() -> None:
    sections = [
        yaml.safe_load(block)["data"] for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    ]
    configs = [
        DataConfig(**{**section, "preprocess": tuple(section.get("preprocess", ()))})
        for section in sections
    ]
    assert tuple(config.source for config in configs) == SOURCES


def test_the_python_of_the_page_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    names: dict[str, object] = {}
    exec(code, names)
    assert names["dataset"].x_train.shape == (1438, 8, 8)  # type: ignore[attr-defined]
