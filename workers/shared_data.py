"""A Dataset in a file without a name, which all worker processes of a machine map into memory.

Written by the executor of processes, read by ``workers.process``: the arrays are there once.
"""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workers.data import Dataset

PIECE_BYTES = 2**30
ALIGNMENT = 64  # of each array: what a cache line is, and the widest vectors of processors


@dataclass(frozen=True, kw_only=True, slots=True)
class Shared:
    """A pickle without its arrays, and where each of these lies: ``(offset, bytes)``."""

    pickled: bytes
    places: tuple[tuple[int, int], ...]


def open_file() -> int:
    """The descriptor of an empty file without a name: in memory where the system has such files."""
    if hasattr(os, "memfd_create"):  # on Linux
        return os.memfd_create("hpsearch-data")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def write(dataset: Dataset, file: int) -> Shared:
    """Put the arrays of ``dataset`` into ``file``, which is empty; give what :func:`read` wants."""
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(dataset, protocol=5, buffer_callback=buffers.append)
    places, offset = [], 0
    for buffer in buffers:
        raw = buffer.raw()
        places.append((offset, raw.nbytes))
        _write_all(file, raw, offset)
        offset += -(-raw.nbytes // ALIGNMENT) * ALIGNMENT
    return Shared(pickled=pickled, places=tuple(places))


def read(shared: Shared, file: int) -> Dataset:
    """The Dataset. Its arrays are the file's own pages until they are written to, which copies."""
    size = max((offset + length for offset, length in shared.places), default=0)
    flags = {"flags": mmap.MAP_PRIVATE, "prot": mmap.PROT_READ | mmap.PROT_WRITE}
    view = memoryview(mmap.mmap(file, size, **flags)) if size else memoryview(b"")
    buffers = [view[offset : offset + length] for offset, length in shared.places]
    dataset: Dataset = pickle.loads(shared.pickled, buffers=buffers)
    return dataset


def _write_all(file: int, raw: memoryview, offset: int) -> None:
    """In pieces: one call writes at most 2 GiB, and some systems refuse to be asked for more."""
    while raw.nbytes:
        written = os.pwrite(file, raw[:PIECE_BYTES], offset)
        raw, offset = raw[written:], offset + written
