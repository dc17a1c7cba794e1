"""docs/analysis.md: its story is run, its views have the columns that it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hpsearch.analysis.frames import Frames
from hpsearch.analysis.layout import BEST, TRIALS
from hpsearch.storage.database import Database
from hpsearch.storage.repository import Repository

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("HPSEARCH_DATA", ROOT.parent / "shared" / "data"))
PAGE = (ROOT / "docs" / "analysis.md").read_text()
# What the story claims, of the frames that its code leaves behind.
CLAIMS = """
import numpy as np

assert best["confirmed"].tolist()[:3] == [True, True, True]
assert best["n"].tolist()[:3] == [3, 3, 3]
assert candidates["number"].iloc[0] == best["number"].iloc[0] == top["number"].iloc[0]
medians = coarse.groupby("optimizer", observed=True)["learning_rate"].median()
assert medians["adam"] < medians["momentum"]
assert len(fine) == 2 and fine["reason"].str.contains("narrowed to").all()
assert np.log10(fine["high"] / fine["low"]).between(1, 3).all()
assert paid["gain"].iloc[-1] < 0.05
assert rows == len(db.curves("mnist-story"))
"""


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(not (DATA / "mnist").is_dir(), reason="MNIST is not in ../shared/data")
def test_the_story_of_a_search_of_mnist_is_true(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mnist").symlink_to((DATA / "mnist").resolve())
    (spec,) = _blocks("yaml")
    (tmp_path / "mnist-story.yaml").write_text(spec)
    search = [sys.executable, "-m", "hpsearch", "run", "mnist-story.yaml", "--ray", "none"]
    subprocess.run(search, cwd=tmp_path, check=True, timeout=300, capture_output=True)
    code = [sys.executable, "-c", "\n".join([*_blocks("python"), CLAIMS])]
    subprocess.run(code, cwd=tmp_path, check=True, timeout=120)


@pytest.mark.parametrize("view", ["best_trials", "trial_curves"])
def test_the_page_has_every_column_of_the_views(sqlite_url: str, view: str) -> None:
    (section,) = re.findall(rf"^### {view}\n(.*?)(?=^### |\Z)", PAGE, flags=re.M | re.S)
    cells = re.findall(r"^\| (`.+?) \|", section, flags=re.M)
    documented = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    frame = Frames(Repository(Database(sqlite_url))).sql(f"SELECT * FROM {view}")
    assert sorted(documented) == sorted(frame.columns)


def test_the_page_has_every_column_that_only_best_has() -> None:
    (section,) = re.findall(r"^### What is best\n(.*?)^## ", PAGE, flags=re.M | re.S)
    documented = set(re.findall(r"^\| `(\w+)` \|", section, flags=re.M))
    assert documented == {*BEST} - {*TRIALS} | {"value", "spread"}


def test_the_page_has_every_frame() -> None:
    documented = set(re.findall(r"^\| `db\.(\w+)\(", PAGE, flags=re.M))
    methods = {name for name in vars(Frames) if not name.startswith("_")}
    assert documented | {"iter_trials", "iter_curves"} == methods
