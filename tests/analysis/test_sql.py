"""SQL of the user's own: the views say what the frames say, and nothing can be changed by it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from stored_searches import PROVENANCE, Writer, a_report, a_spec, a_stage, a_trial, begin

from hpsearch.analysis.frames import Frames
from hpsearch.spec.search import Objective
from hpsearch.storage.database import Database
from hpsearch.storage.errors import StorageError


@pytest.fixture
def frames(database: Database) -> Frames:
    """Two searches, of which one ranks the other way; a NaN, a failed and a continued trial."""
    for name, mode in (("up", "max"), ("down", "min")):
        objective = Objective(metric="val_loss", mode=mode)  # type: ignore[arg-type]
        writer = begin(database, num_trials=6, spec=a_spec(name, objective=objective))
        child = a_trial(6, stage_id=writer.stage_id, parent_id=writer.ids[0], start_epoch=5)
        (continued,) = writer.repository.add_trials(writer.lease, [child])
        values = dict(zip(writer.ids, (0.1, 0.5, 0.5, 0.7, math.nan, 0.2), strict=True))
        for epoch, ends in ((5, values), (6, {continued.id: 0.3})):
            report = a_report(epoch, ends, state="complete")
            writer.repository.commit_report(writer.lease, report)
        writer.repository.fail_trials(writer.lease, {writer.ids[5]: ("error", "x")})
        _confirm(writer, {1: (0.4, 0.6, math.nan), 2: (0.52,)}, first=7)
    return Frames(writer.repository)


def _confirm(writer: Writer, repeats: dict[int, tuple[float, ...]], first: int) -> None:
    """A confirm stage: the values of the repeats of each trial, by its number."""
    repository, lease = writer.repository, writer.lease
    confirm = a_stage(1, name="confirm", kind="confirm", branches=())
    stage, _ = repository.open_stage(lease, confirm, [])
    drawn, values = [], []
    for number, of in repeats.items():
        for replicate, value in enumerate(of, 1):
            given = {"parent_id": writer.ids[number], "replicate": replicate, "stage_id": stage.id}
            drawn.append(a_trial(first + len(drawn), **given))
            values.append(value)
    ids = [trial.id for trial in repository.add_trials(lease, drawn)]
    report = a_report(5, dict(zip(ids, values, strict=True)), state="complete")
    repository.commit_report(lease, report)


@pytest.mark.parametrize("name", ["up", "down"])
def test_the_view_of_the_best_ranks_as_best_does(frames: Frames, name: str) -> None:
    found = frames.sql(f"SELECT * FROM best_trials WHERE name = '{name}' ORDER BY rank")
    best = frames.best(name)
    assert found["number"].tolist() == best["number"].tolist()
    assert found["rank"].tolist() == list(range(1, len(best) + 1))
    for column in ("value", "mean", "n", "epochs", "stage", "branch", "trial"):
        assert found[column].tolist() == best[column].tolist(), column
    assert found["confirmed"].astype(bool).tolist() == best["confirmed"].tolist()
    spread = found["variance"].astype("float64") ** 0.5
    assert spread.tolist() == pytest.approx(best["spread"].tolist(), nan_ok=True)
    order = [2, 1, 3, 6] if name == "up" else [1, 2, 6, 3]
    assert best["number"].tolist() == order
    assert best.set_index("number")["n"].to_dict() == {1: 2, 2: 1, 3: 1, 6: 1}


def test_the_view_of_curves_has_each_epoch_that_a_trial_trained(frames: Frames) -> None:
    """And not those that it continues, which ``parent`` has."""
    found = frames.sql("SELECT * FROM trial_curves WHERE search = 1 ORDER BY number, epoch")
    curves = frames.curves("up")
    own = curves[(curves["number"] != 6) | (curves["epoch"] == 6)].reset_index(drop=True)
    assert found["number"].tolist() == own["number"].tolist()
    assert found["epoch"].tolist() == own["epoch"].tolist()
    losses = found["val_loss"].astype("float64")
    assert losses.equals(own["val_loss"])


WRITES = (
    "DELETE FROM trials",
    "UPDATE searches SET name = 'x'",
    "DROP VIEW best_trials",
    "CREATE TABLE mine (x INTEGER)",
    "SELECT 1; DELETE FROM trials",
    "COMMIT; DELETE FROM trials",
    "ATTACH 'other.db' AS other",
    "",
)


@pytest.mark.parametrize("statement", WRITES)
def test_what_would_change_anything_is_refused_in_a_sentence(
    frames: Frames, statement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = frames.sql("SELECT count(*) AS n FROM trials")["n"][0]
    files = set(tmp_path.iterdir())
    with pytest.raises(StorageError, match="a query must be one SELECT that the database") as told:
        frames.sql(statement)
    assert "\n" not in str(told.value)
    assert frames.sql("SELECT count(*) AS n FROM trials")["n"][0] == before
    assert {file for file in tmp_path.iterdir() if file.name == "other.db"} <= files
    frames.repository.create_search(a_spec("after"), PROVENANCE)  # writing goes on


def test_a_misspelt_column_is_named(frames: Frames) -> None:
    with pytest.raises(StorageError, match=r"valu\b.*: did you mean 'value'\? in best_trials"):
        frames.sql("SELECT valu FROM best_trials")


def test_of_a_parameter_it_is_said_how_views_have_it(frames: Frames) -> None:
    with pytest.raises(StorageError, match=r"; a parameter is read as params ->> 'learning_rate'"):
        frames.sql("SELECT learning_rate FROM best_trials AS b")
    with pytest.raises(StorageError) as told:
        frames.sql("SELECT b.epoc FROM trial_curves AS b")
    assert "did you mean 'epoch'?" in str(told.value)
    with pytest.raises(StorageError) as told:
        frames.sql("SELECT x")
    assert "there are" not in str(told.value)
