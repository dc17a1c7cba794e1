"""Every packaged search space runs, cut short; those on real data where the data are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import hpsearch
from hpsearch.spec import load
from hpsearch.spec.document import packaged

DATA = Path(os.environ.get("HPSEARCH_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
PATHS = {"mnist": DATA / "mnist", "cifar10": DATA / "cifar-10-python.tar.gz"}


def _short(name: str) -> list[str]:
    """Overrides that leave every stage in, with few trials, one epoch more each, and few rows."""
    search = load(name)
    short = []
    for i, stage in enumerate(search.stages):
        if stage.kind == "check":
            continue
        if stage.kind == "confirm":
            short += [f"stages.{i}.top=1", f"stages.{i}.seeds=2"]
        else:
            trials = max(4, len(search.space.branches()))
            # A pruner decides before the last epoch, so it needs more than one.
            epochs = (i + 1) * (1 if stage.pruner is None else 3)
            short += [f"stages.{i}.trials={trials}", f"stages.{i}.epochs={epochs}"]
            is_first = all(earlier.kind == "check" for earlier in search.stages[:i])
            short += [f"stages.{i}.continue={0 if is_first else 2}"]
    if search.data.source in PATHS:
        short += [f"data.path={PATHS[search.data.source]}", "data.limit=600", "data.validation=100"]
    return short


@pytest.mark.parametrize("name", packaged())
def test_a_packaged_search_runs_to_its_end(name: str, tmp_path: Path) -> None:
    source = load(name).data.source
    if source in PATHS and not PATHS[source].exists():
        pytest.skip(f"the files of {source} are not there: {PATHS[source]}")
    result = hpsearch.run(
        name, db=f"sqlite:///{tmp_path / 'x.db'}", ray="none", overrides=_short(name)
    )
    trials = result.trials()
    pruned = {"pruned"} if any(stage.pruner for stage in load(name).stages) else set()
    assert set(trials["state"]) <= {"complete", "failed"} | pruned
    assert result.best(1)["value"][0] > 0.1
    trained = {stage.name for stage in load(name).stages if stage.kind != "check"}
    assert set(trials["stage"]) >= trained
