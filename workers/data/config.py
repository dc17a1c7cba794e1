"""``DataConfig``: which examples a search trains on; ``DataError``: the way they are refused.

``hpsearch.spec`` builds the config from the ``data:`` section of a spec, ``workers.data.load``
reads it. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCES = ("digits", "mnist", "cifar10", "csv", "parquet", "npz")
PREPROCESS = ("zero_center", "standardize")
EMBEDDED = ("digits",)  # sources that need no file
TABLES = ("csv", "parquet")  # sources with named columns


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

    ``path`` is a file or folder, by ``source``. ``target`` is the label column of a table (the
    last one by default). ``validation`` is a number of rows (int) or a fraction of them (float in
    (0, 1)); ``limit`` the number of rows used in all, training and validation together.
    """

    source: str
    path: str | None = None
    target: str | None = None
    validation: int | float = 0.2
    preprocess: tuple[str, ...] = ()
    limit: int | None = None

    def __post_init__(self) -> None:
        self._check_names()
        self._check_path_and_target()
        self._check_counts()

    def _check_names(self) -> None:
        if self.source not in SOURCES:
            raise DataError(
                f"source must be one of {', '.join(SOURCES)}, but got {self.source!r}; "
                "choose one of these",
                "source",
            )
        unknown = [name for name in self.preprocess if name not in PREPROCESS]
        if unknown:
            raise DataError(
                f"preprocess must be a list of {' and '.join(PREPROCESS)}, "
                f"but got {unknown[0]!r}; leave it out or choose one of these",
                "preprocess",
            )

    def _check_path_and_target(self) -> None:
        if self.source in EMBEDDED and self.path is not None:
            raise DataError(
                f"source {self.source} is embedded and reads no file, but got path "
                f"{self.path!r}; leave path out",
                "path",
            )
        if self.source not in EMBEDDED and not self.path:
            raise DataError(
                f"source {self.source} needs a path, but none was given; "
                "set data.path to its file or folder",
                "path",
            )
        if self.target is not None and self.source not in TABLES:
            raise DataError(
                f"target names a column of a table ({' or '.join(TABLES)}), but got "
                f"{self.target!r} for source {self.source}; leave target out",
                "target",
            )

    def _check_counts(self) -> None:
        value = self.validation
        fraction = isinstance(value, float) and 0 < value < 1
        if not (_is_count(value, 1) or fraction):
            raise DataError(
                "validation must be a whole number of rows >= 1 or a fraction in (0, 1), "
                f"but got {value!r}; write 1000 or 0.2",
                "validation",
            )
        if self.limit is not None and not _is_count(self.limit, 2):
            raise DataError(
                f"limit must be a whole number of rows >= 2, but got {self.limit!r}; "
                "raise it or leave it out",
                "limit",
            )


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
