"""Warm starts: from what a spec says to the checkpoint that new trials take their weights from.

Called by ``hpsearch.api`` before anything is stored, and by the loop when it begins; only trials
that are complete count, whose checkpoints change no more, and a search that has begun links them
into its own folder, so a restart finds the same.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hpsearch.coordinator.resources import checkpoint_folder, checkpoint_path
from hpsearch.errors import HpsearchError
from hpsearch.settings import CHECKPOINTS_VARIABLE
from hpsearch.spec.search import Search
from hpsearch.spec.warm_start import RULE, FileSource, parse_warm_start, warm_starts
from hpsearch.storage.errors import StorageError
from hpsearch.storage.records import SearchRecord, TrialRecord
from hpsearch.storage.repository import Repository
from workers.messages import CheckpointSlice

WarmStarts = Mapping[str, CheckpointSlice]


def resolve_warm_starts(
    repository: Repository | None,
    spec: Search,
    root: Path,
    own_id: int | None = None,
    pins: Path | None = None,
) -> WarmStarts:
    """The checkpoint that each warm start of ``spec`` means; ``root`` holds all searches' folders.

    A name means the newest search of that name before this one, whose id is ``own_id`` once it has
    one. Without a ``repository`` the trials that are named stay unresolved. The checkpoints of
    trials are linked into the folder ``pins``, where they stay when the other search deletes them.
    Raises HpsearchError, with the key at fault, for what cannot be started from.
    """
    found: dict[str, CheckpointSlice] = {}
    for key, text in warm_starts(spec):
        try:
            resolved = _resolved(repository, text, root, own_id, pins)
        except (ValueError, StorageError) as error:
            raise HpsearchError(f"{spec.name}: {key}: {error} (got {text!r})") from error
        if resolved is not None:
            found[text] = resolved
    return found


def _resolved(
    repository: Repository | None, text: str, root: Path, own_id: int | None, pins: Path | None
) -> CheckpointSlice | None:
    source = parse_warm_start(text)
    if source is None:
        raise ValueError(RULE)
    if isinstance(source, FileSource):
        return _of_file(source)
    if repository is None:
        return None
    if source.search == str(own_id):
        raise ValueError("must name a trial of another search, but this is its own")
    record = repository.find_search(source.search, before=own_id)
    pin = pins and pins / f"warm-start-{record.id}-{source.number}.safetensors"
    if pin is not None and pin.exists():
        return CheckpointSlice(file=str(pin), row=_row(_trial(repository, record, source.number)))
    found = trial_checkpoint(repository, record, source.number, root)
    return found if pin is None else replace(found, file=str(_linked(Path(found.file), pin)))


def _row(trial: TrialRecord) -> int:
    assert trial.checkpoint_row is not None  # it had a checkpoint when that was linked
    return trial.checkpoint_row


def _linked(file: Path, pin: Path) -> Path:
    """``pin``, which is ``file`` from now on, or a copy of it where there are no links."""
    pin.parent.mkdir(parents=True, exist_ok=True)
    whole = pin.with_suffix(".tmp")
    whole.unlink(missing_ok=True)
    try:
        os.link(file, whole)
    except OSError:
        shutil.copyfile(file, whole)
    return whole.replace(pin)


def _of_file(source: FileSource) -> CheckpointSlice:
    path = Path(source.file).expanduser().resolve()  # workers have a working folder of their own
    if not path.is_file():
        raise ValueError(f"must name a file, but there is none at {path}; correct the path")
    return CheckpointSlice(file=str(path), row=source.row)


def trial_checkpoint(
    repository: Repository, record: SearchRecord, number: int, root: Path
) -> CheckpointSlice:
    """The newest checkpoint of a complete trial; ValueError, a rule, for what has none."""
    return _of_trial(record, _trial(repository, record, number), root)


def _trial(repository: Repository, record: SearchRecord, number: int) -> TrialRecord:
    trial = repository.find_trial(record.id, number)
    if trial is None:
        raise ValueError(
            f"must name a trial, but search {record.id} has no number {number}; "
            f"`hpsearch trials {record.id}` shows all"
        )
    if trial.state != "complete":
        raise ValueError(
            f"must name a trial that is complete, but number {number} of search {record.id} "
            f"is {trial.state}; choose another one"
        )
    return trial


def _of_trial(record: SearchRecord, trial: TrialRecord, root: Path) -> CheckpointSlice:
    name, row = trial.checkpoint_file, trial.checkpoint_row
    path = None if name is None else checkpoint_path(checkpoint_folder(root, record), name)
    if path is None or row is None or not path.exists():
        kept = record.spec.resources.keep_checkpoints
        gone = f"{path} is gone; resources.keep_checkpoints, of the best trials, is {kept} there"
        if path is not None and not path.parent.is_dir():
            gone = (
                f"its folder {path.parent} is not on this machine: {CHECKPOINTS_VARIABLE} must say "
                "where the checkpoints of its machines are"
            )
        missing = "none was written" if path is None else gone
        raise ValueError(
            f"must name a trial with a checkpoint, but number {trial.number} of search {record.id} "
            f"has none ({missing}); choose another one"
        )
    return CheckpointSlice(file=str(path), row=row)
