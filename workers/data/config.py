"""``DataConfig``: which examples a search trains on; ``DataError``: the way they are refused.

``hpsearch.spec`` builds the config from the ``data:`` section of a spec, ``workers.data.load``
reads it. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workers.config.own import is_own

SOURCES = ("digits", "mnist", "cifar10", "csv", "parquet", "npz")
TASKS = ("classification", "regression")
PREPROCESS = ("zero_center", "standardize", "mean_image", "channel_mean", "pca", "whiten")
EMBEDDED = ("digits",)  # sources that need no file
TABLES = ("csv", "parquet")  # sources with named columns
OWN_TARGETS = (*TABLES, "npz")  # sources whose targets may be numbers
FOR_IMAGES = ("mean_image", "channel_mean")  # what only images have
ROTATIONS = ("pca", "whiten")  # what mixes features


class DataError(ValueError):
    """One sentence: the rule, the value that broke it, what to do. ``key`` names the field."""

    def __init__(self, message: str, key: str) -> None:
        # Both, so that it survives a pickle to another process; a quoted cause may have lines.
        super().__init__(" ".join(message.splitlines()), key)
        self.key = key

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Where the examples come from and how they are parted. Raises DataError if it cannot be.

    ``path`` is a file or folder, by ``source``; of the MODULE:NAME of a user's function it is the
    argument, if there is one. ``target`` is the column of a table that holds the
    labels or, with ``task`` regression, the numbers (the last column by default). ``validation`` is
    a number of rows (int) or a fraction of them (float in (0, 1)); with ``folds``, k >= 2, it is
    unused. ``limit`` is the number of rows used in all, training and validation together.
    ``stream`` has the examples of a user's dataset read when they are trained on, by
    ``loader_workers`` processes for each worker; auto: where they do not fit in memory, and as many
    as there are cores for.
    """

    source: str
    path: str | None = None
    target: str | None = None
    task: str = "classification"
    validation: int | float = 0.2
    folds: int | None = None
    preprocess: tuple[str, ...] = ()
    limit: int | None = None
    stream: bool | Literal["auto"] = "auto"
    loader_workers: int | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        self._check_names()
        self._check_path_and_target()
        self._check_preprocess()
        self._check_counts()
        self._check_stream()

    def _check_names(self) -> None:
        if self.source not in SOURCES and not is_own(self.source):
            raise DataError(
                f"source must be one of {', '.join(SOURCES)}, or the MODULE:NAME of a function, "
                f"but got {self.source!r}; choose one of these",
                "source",
            )
        if self.task not in TASKS:
            raise DataError(
                f"task must be {' or '.join(TASKS)}, but got {self.task!r}; choose one of these",
                "task",
            )
        if self.task == "regression" and self.source not in OWN_TARGETS and not is_own(self.source):
            raise DataError(
                f"task 'regression' needs targets that are numbers ({', '.join(OWN_TARGETS)}), but "
                f"source {self.source} has classes; leave task out",
                "task",
            )

    def _check_path_and_target(self) -> None:
        if self.source in EMBEDDED and self.path is not None:
            raise DataError(
                f"source {self.source} is embedded and reads no file, but got path "
                f"{self.path!r}; leave path out",
                "path",
            )
        if self.source not in EMBEDDED and not is_own(self.source) and not self.path:
            raise DataError(
                f"source {self.source} needs a path, but none was given; "
                "set data.path to its file or folder, as --set data.path=PATH does",
                "path",
            )
        if self.target is not None and self.source not in TABLES:
            raise DataError(
                f"target names a column of a table ({' or '.join(TABLES)}), but got "
                f"{self.target!r} for source {self.source}; leave target out",
                "target",
            )

    def _check_preprocess(self) -> None:
        for name in self.preprocess:
            if name not in PREPROCESS:
                raise DataError(
                    f"preprocess must be a list of names among {', '.join(PREPROCESS)}, "
                    f"but got {name!r}; leave it out or choose one of these",
                    "preprocess",
                )
            if name in FOR_IMAGES and self.source in TABLES:
                raise needs_images(name, f"source {self.source} is a table")
        others = set(self.preprocess) - {"channel_mean"}
        if others and "channel_mean" in self.preprocess:
            raise _exclude("channel_mean", min(others), "subtracts the mean of each feature")
        if set(ROTATIONS) <= set(self.preprocess):
            raise _exclude("pca", "whiten", "is pca with unit variances")

    def _check_counts(self) -> None:
        value = self.validation
        fraction = isinstance(value, float) and 0 < value < 1
        if not (_is_count(value, 1) or fraction):
            raise DataError(
                "validation must be a whole number of rows >= 1 or a fraction in (0, 1), "
                f"but got {value!r}; write 1000 or 0.2",
                "validation",
            )
        if self.folds is not None and not _is_count(self.folds, 2):
            raise DataError(
                f"folds must be a whole number >= 2, but got {self.folds!r}; write 5", "folds"
            )
        if self.limit is not None and not _is_count(self.limit, 2):
            raise DataError(
                f"limit must be a whole number of rows >= 2, but got {self.limit!r}; "
                "raise it or leave it out",
                "limit",
            )

    def _check_stream(self) -> None:
        for name in ("stream", "loader_workers"):
            if getattr(self, name) != "auto" and not is_own(self.source):
                raise DataError(
                    f"{name} is for datasets of a user's function, MODULE:NAME, but source "
                    f"{self.source} is read into memory; leave {name} out",
                    name,
                )
        if self.loader_workers != "auto" and not _is_count(self.loader_workers, 0):
            raise DataError(
                f"loader_workers must be a whole number >= 0, but got {self.loader_workers!r}; "
                "write 4",
                "loader_workers",
            )
        if self.stream is True:
            check_can_stream(self)


def check_can_stream(config: DataConfig) -> None:
    """Raises DataError for what asks to have all examples at once, which are to be streamed."""
    if config.folds is not None:
        raise DataError(
            "folds need examples in memory, for each fold sees others at the same time, but those "
            f"of {config.source} are streamed; hold out a part: validation: 0.2",
            "folds",
        )
    for name in set(ROTATIONS) & set(config.preprocess):
        raise DataError(
            f"preprocess {name!r} needs examples in memory, which are gone through more than once, "
            f"but those of {config.source} are streamed; use standardize",
            "preprocess",
        )


def needs_images(name: str, found: str) -> DataError:
    """The refusal of ``name``, a preprocessing of images, for data that are ``found`` instead."""
    return DataError(
        f"preprocess {name!r} needs images, but {found}; use zero_center", "preprocess"
    )


def _exclude(one: str, other: str, why: str) -> DataError:
    return DataError(
        f"preprocess takes {one!r} or {other!r}, but got both, and the latter {why}; leave one out",
        "preprocess",
    )


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
