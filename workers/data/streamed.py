"""Streamed: examples that stay where a user's map-style dataset has them, read when asked for.

Made by ``own`` where they do not fit in memory. What travels to another process is the name of
the function that gives the dataset, which is opened anew there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workers.config.own import imported, said
from workers.data.config import DataError
from workers.data.examples import Array, Int64Array
from workers.data.features import channels_first, features

READ_AT_ONCE = 256  # examples, when all are read for their targets
COMPARED = 32  # examples that are read twice, and by which ``targets`` are believed
FINGERPRINTED = 64  # examples that tell one dataset from another, beside all targets

MapStyle = Sequence[tuple[Any, Any]]


class Opened:
    """The datasets that the function ``source`` gives; opened when first asked for, once a process.

    A ``path`` that exists is made absolute, for a worker may run in another folder.
    """

    def __init__(
        self, source: str, path: str | None, datasets: Sequence[MapStyle] | None = None
    ) -> None:
        is_file = path is not None and Path(path).exists()
        self.source, self.path = source, str(Path(path).absolute()) if is_file and path else path
        self._datasets = datasets

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_datasets": None}

    def __getitem__(self, number: int) -> MapStyle:
        """The dataset for training (0) or for validation (1)."""
        if self._datasets is None:
            self._datasets = self._made()
        return self._datasets[number]

    def _made(self) -> Sequence[MapStyle]:
        """Anew, in a worker. Raises DataError if that cannot be there."""
        try:
            make = imported(self.source)
            given = make() if self.path is None else make(self.path)
        except Exception as error:  # whatever a user's function does
            raise DataError(
                f"{self.source} must give its examples in a worker too, but that raises "
                f"{said(error)}; have there what it reads, or stream: false",
                "source",
            ) from error
        return given if isinstance(given, tuple | list) else (given,)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Streamed:
    """Rows of dataset ``number``: row i is its example ``places[i]``.

    All examples have the shape and the type of the first one as it is given, ``given_shape`` and
    ``given_dtype``; rows are as they would be in memory: [*feature_shape], uint8 or float32.
    ``loader_workers`` processes read them for each that trains; None: as many as seem good there.
    """

    opened: Opened
    number: int
    places: Int64Array
    given_shape: tuple[int, ...]
    given_dtype: np.dtype[Any]
    loader_workers: int | None = None

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: Any) -> Streamed:
        """Fewer of them, as NumPy's indexing chooses rows; nothing is read."""
        return Streamed(
            opened=self.opened,
            number=self.number,
            places=self.places[rows],
            given_shape=self.given_shape,
            given_dtype=self.given_dtype,
            loader_workers=self.loader_workers,
        )

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 or float32."""
        return np.dtype(np.uint8 if self.given_dtype == np.uint8 else np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, *feature_shape]."""
        one = np.broadcast_to(np.zeros((), np.uint8), (1, *self.given_shape))
        return (len(self), *channels_first(one).shape[1:])

    @property
    def nbytes(self) -> int:
        """What this holds; not the examples."""
        return self.places.nbytes

    @property
    def name(self) -> str:
        """What to call it in a sentence."""
        return self.opened.source

    def read(self, rows: Int64Array | slice) -> Array:
        """These rows [n, *feature_shape]. Raises DataError for examples that are not as the first.

        And for what the dataset raises, which is named with the example's index.
        """
        return self.read_pairs(rows)[0]

    def read_pairs(self, rows: Int64Array | slice) -> tuple[Array, list[Any]]:
        """The same, and the targets as they are given."""
        places = self.places[rows]
        x = np.empty((len(places), *self.given_shape), self.given_dtype)
        targets = []
        for row, place in enumerate(places.tolist()):
            one, target = self._example(place)
            x[row] = one
            targets.append(target)
        return channels_first(features(x, self.name)), targets

    def _example(self, place: int) -> tuple[Array, Any]:
        x, target = example(self.opened[self.number], place, self.name)
        if x.shape != self.given_shape or x.dtype != self.given_dtype:
            raise DataError(
                f"all examples must be alike, but of {self.name} the first is {self.given_dtype} "
                f"{list(self.given_shape)} and example {place} is {x.dtype} {list(x.shape)}; give "
                "them one shape and type",
                "source",
            )
        return x, target


def example(dataset: MapStyle, place: int, name: str) -> tuple[Array, Any]:
    """Input and target at ``place``. Raises DataError if that is no pair, or raises."""
    try:
        x, target = dataset[place]
        return np.asarray(x), target.item() if getattr(target, "ndim", None) == 0 else target
    except Exception as error:  # whatever a user's dataset does
        raise DataError(
            f"example {place} of {name} must be a pair of an input and a target, but reading it "
            f"raises {said(error)}; mend it, or leave it out",
            "source",
        ) from error


def between(x: Array | Streamed, start: int, stop: int) -> Array:
    """Rows of either, in memory."""
    return x.read(slice(start, stop)) if isinstance(x, Streamed) else x[start:stop]


def sampled(x: Array | Streamed) -> Array:
    """Some rows, in memory: the same for an array and for the examples that it was read from."""
    rows = _spread(len(x), FINGERPRINTED)
    return x.read(rows) if isinstance(x, Streamed) else x[rows]


def targets_of(x: Streamed, dataset: MapStyle) -> Array:
    """All targets [N], in memory; every example is read and checked for it.

    But where the dataset has ``targets``, as torchvision's do, which agree with some examples.
    """
    known = _known_targets(x, dataset)
    if known is not None:
        return known
    pieces = (
        np.asarray(x.read_pairs(slice(start, start + READ_AT_ONCE))[1])
        for start in range(0, len(x), READ_AT_ONCE)
    )
    return np.concatenate(list(pieces))


def check_repeats(x: Streamed) -> None:
    """Raises DataError if an example differs from one reading to the next."""
    for row in _spread(len(x), COMPARED)[:, None]:
        if not np.array_equal(x.read(row), x.read(row)):
            raise DataError(
                f"examples that are streamed must be the same whenever they are read, but example "
                f"{x.places[row[0]]} of {x.name} differs; leave augmentation to train, as flip is",
                "source",
            )


def _known_targets(x: Streamed, dataset: MapStyle) -> Array | None:
    known = np.asarray(getattr(dataset, "targets", None))
    if known.shape != (len(x),):
        return None
    rows = _spread(len(x), COMPARED)
    _, found = x.read_pairs(rows)
    return known if np.array_equal(known[rows], np.asarray(found)) else None


def _spread(count: int, most: int) -> Int64Array:
    """Up to ``most`` of the rows 0 to count - 1, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(np.int64))


def pieces(x: Array | Streamed, size: int) -> Iterator[Array]:
    """All rows in order, ``size`` at a time."""
    return (between(x, start, start + size) for start in range(0, len(x), size))
