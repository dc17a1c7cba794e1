"""What a search needs from outside its database: its data as they were, and a folder to write.

Checked by ``hpsearch.running`` and ``hpsearch.service`` before the coordinator starts.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpsearch.errors import HpsearchError
from hpsearch.storage.leases import Lease
from hpsearch.storage.records import DATA_READ, SearchRecord
from hpsearch.storage.repository import Repository
from workers.data import Dataset


def checkpoint_folder(root: Path, record: SearchRecord) -> Path:
    """The search's own folder for checkpoints.

    Named after the search's id and time, so that two databases do not share one.
    """
    return root / f"search-{record.id}-{record.created_at:%Y%m%dT%H%M%S}"


def checkpoint_path(folder: Path, name: str) -> Path:
    """The checkpoint of that stored ``name`` in a search's ``folder``.

    Raises HpsearchError for a name that leads out of it: whoever can write to the database must
    not have files of this machine read or deleted.
    """
    if name in ("", "..") or Path(name).name != name:
        raise HpsearchError(
            f"a checkpoint must be a file of the folder {str(folder)!r}, but the database says "
            f"{name!r}: somebody has changed it there; correct it, or search again with --new"
        )
    return folder / name


def prepared_folder(root: Path, record: SearchRecord) -> Path:
    """:func:`checkpoint_folder`, made, tried and cleared of what killed workers left.

    Raises HpsearchError if it cannot be written.
    """
    folder = checkpoint_folder(root, record)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"probe-{os.getpid()}.tmp").write_bytes(b"x")
        for unfinished in folder.glob("*.tmp"):
            remove(unfinished)
    except OSError as error:
        raise not_writable(folder, error) from error
    return folder


def remove(checkpoint: Path) -> None:
    """Delete a checkpoint: a file of ours, or the folder of a trainable's. OSError if it stays."""
    if checkpoint.is_dir():
        shutil.rmtree(checkpoint)
    else:
        checkpoint.unlink(missing_ok=True)


def not_writable(folder: Path, error: OSError) -> HpsearchError:
    """That checkpoints cannot be written to ``folder``, and what to do."""
    return HpsearchError(
        f"checkpoints must be written to {str(folder)!r}, but that fails ({error.strerror}): "
        "mend it, or name another folder in HPSEARCH_CHECKPOINTS"
    )


def check_same_data(repository: Repository, lease: Lease, dataset: Dataset | None) -> None:
    """Refuse to mix two data sets in one table; the first time, note what the data are.

    None are those of a trainable, of which nothing is known.
    """
    if dataset is None:
        return
    if check_data_are(repository, lease.search_id, dataset) is None:
        repository.add_event(lease, DATA_READ, _noted(dataset))


def check_data_are(
    repository: Repository, search_id: int, dataset: Dataset
) -> Mapping[str, Any] | None:
    """What is noted of the data that the search began with; None if nothing is yet.

    Raises HpsearchError if ``dataset`` is another.
    """
    read = [event for event in repository.events(search_id) if event.kind == DATA_READ]
    if not read:
        return None
    now = _noted(dataset)
    if _differ(read[0].data, now):
        raise HpsearchError(
            f"the data of search {search_id} must be those that it began with on "
            f"{read[0].created_at:%Y-%m-%d %H:%M} ({read[0].data['rows']} training rows), but they "
            f"have changed (now {now['rows']}): put them back, or search anew with --new"
        )
    return read[0].data


def _noted(dataset: Dataset) -> dict[str, Any]:
    return {
        "rows": len(dataset.x_train),
        "classes": len(dataset.class_names),  # for the diagnoses: what guessing would reach
        "fingerprint": dataset.fingerprint(),
        "sample": dataset.sample_fingerprint(),
    }


def _differ(then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """By all values where these are known of both; of data that are streamed, by some."""
    for name in ("fingerprint", "sample", "rows"):
        if then.get(name) is not None and now[name] is not None:
            return bool(then[name] != now[name])
    return False
