"""What the winner's network itself says: its weights, its confusions, and its score on test data.

Read and measured once a report, from the checkpoint that is kept and the data that are at hand.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from os import cpu_count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpsearch.checkpoints import Weights, checkpoint_of, weights_in
from hpsearch.coordinator.groups import build_group
from hpsearch.coordinator.resources import check_data_are, checkpoint_folder
from hpsearch.errors import HpsearchError
from hpsearch.settings import checkpoint_root
from hpsearch.spec import load_data
from hpsearch.storage.errors import StorageError
from workers.data import DataConfig, DataError, Dataset

if TYPE_CHECKING:
    from hpsearch.report.reading import Reading
    from hpsearch.storage.records import EventRecord
    from workers.messages import Measured, TrialGroup

PUT_BACK = (
    "To have this part, put them back where the search found them, and write the report again from "
    "the folder in which it ran, if the path is relative."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """The network of trial ``number``, as far as it can be had.

    ``why_not`` says in a sentence why there are no ``weights``, or why nothing was ``measured``;
    ``untested`` why there is no test score.
    """

    number: int
    weights: Weights | None = None
    dataset: Dataset | None = None
    measured: Measured | None = None
    test: EventRecord | None = None
    why_not: str = ""
    untested: str = ""


def network_of(reading: Reading, number: int) -> Network:
    """The network of a trial; what is missing is said in it, and never raised."""
    record = reading.record
    if record.spec.trainable is not None or record.spec.is_from_elsewhere:
        return Network(number=number, why_not="The network is not one that is trained here.")
    try:
        repository, url = reading.frames.repository, reading.frames.repository.database.url
        weights = weights_in(checkpoint_of(repository, record, number, url))
    except HpsearchError as error:
        return Network(number=number, why_not=f"The network is not at hand: {error}.")
    try:
        dataset = load_data(record.spec)
        assert dataset is not None  # only trainables have none
        check_data_are(repository, record.id, dataset)
    except HpsearchError as error:
        why = f"The data are not at hand: {error}. {PUT_BACK}"
        return Network(number=number, weights=weights, why_not=why)
    try:
        return _measured(reading, number, weights, dataset)
    except Exception as error:  # whatever a user's own module or loss raises
        said = str(error).strip().partition("\n")[0]
        why = f"The network could not be run here: {type(error).__name__}: {said}"
        return Network(number=number, weights=weights, dataset=dataset, why_not=why)


def _measured(reading: Reading, number: int, weights: Weights, dataset: Dataset) -> Network:
    group = _group(reading, number)
    measured = _run(dataset, group)
    test, untested = _tested(reading, number, dataset, group)
    return Network(
        number=number,
        weights=weights,
        dataset=dataset,
        measured=measured,
        test=test,
        untested=untested,
    )


def _group(reading: Reading, number: int) -> TrialGroup:
    """The trial alone, at the epoch of its checkpoint."""
    record, repository = reading.record, reading.frames.repository
    trial = repository.find_trial(record.id, number)
    assert trial is not None  # it has a checkpoint
    stages = {stage.id: stage for stage in reading.stored[0]}
    folder = checkpoint_folder(checkpoint_root(repository.database.url), record)
    return build_group(record.spec, stages[trial.stage_id], [trial], folder, dict, ())


def _run(dataset: Dataset, group: TrialGroup) -> Measured:
    from hpsearch.executors.inprocess import InProcessExecutor  # it imports torch

    with closing(InProcessExecutor(dataset, cpu_count() or 1)) as executor:
        return executor.measure(group)


def _tested(
    reading: Reading, number: int, dataset: Dataset, group: TrialGroup
) -> tuple[EventRecord | None, str]:
    """The score that is stored, or else is measured and stored now; and why there is none."""
    from workers.data.test_part import with_test_part

    record, repository = reading.record, reading.frames.repository
    found = repository.find_test(record.id)
    if found is not None:
        return found, ""
    if record.state != "complete":
        return None, "The test score is measured once, when the search is complete."
    try:
        held_back = with_test_part(dataset, DataConfig(**record.spec.data.model_dump()))
    except DataError as error:
        return None, f"There is no test score: {error}."
    if held_back is None:
        if dataset.fold_rows is not None:
            return None, "There is no test score: with folds there is no one network to measure."
        source = Path(record.spec.data.source).name
        return None, f"There is no test score: {source} has no test part that is known here."
    measured = _run(held_back, group)
    try:
        return repository.keep_test(record.id, _told(number, held_back, measured)), ""
    except StorageError as error:  # a score that is not kept would be measured again
        return None, f"There is no test score, for it could not be stored: {error}."


def _told(number: int, held_back: Dataset, measured: Measured) -> dict[str, Any]:
    metrics = {
        f"test_{name.removeprefix('val_')}": value
        for name, value in measured.metrics.items()
        if name.startswith("val_")
    }
    return {"number": number, "examples": len(held_back.y_validation), "metrics": metrics}
