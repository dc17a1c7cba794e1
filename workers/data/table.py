"""CSV and Parquet tables: one column holds the targets, all others are features.

Read by ``workers.data.loading``; pyarrow is imported only when a table is read.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from workers.data.config import DataConfig, DataError
from workers.data.examples import Examples, Float32Array, existing_file
from workers.data.labels import encode_targets

SNIFF_BYTES = 4096
MOST_LISTED = 12  # columns in a message


def read_csv(config: DataConfig) -> Examples:
    """x [N, columns - 1] float32 of a comma-separated file with a header. Raises DataError."""
    return _read_table(config, _open_csv, "a CSV file with a header line")


def read_parquet(config: DataConfig) -> Examples:
    """x [N, columns - 1] float32 of a Parquet file. Raises DataError."""
    return _read_table(config, _open_parquet, "a Parquet file")


def _read_table(config: DataConfig, open_table: Callable[[Path], Any], what: str) -> Examples:
    path = existing_file(Path(config.path or "").expanduser(), what)
    try:
        import pyarrow
    except ImportError as error:
        raise DataError(
            f"source {config.source} is read by pyarrow, which cannot be imported ({error}); "
            "install pyarrow",
            "source",
        ) from error
    try:
        table = open_table(path)
        table.validate(full=True)  # names and strings, which may not be UTF-8
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"path must be {what}, but {path} cannot be read as one ({error}); "
            "correct data.path or data.source",
            "path",
        ) from error
    return _examples(table, config, path)


def _open_csv(path: Path) -> Any:
    import pyarrow
    import pyarrow.csv

    with pyarrow.input_stream(str(path)) as stream:
        if b"\0" in stream.read(SNIFF_BYTES):
            raise pyarrow.ArrowInvalid("it holds bytes that no text has")
    table = pyarrow.csv.read_csv(str(path))
    if any(pyarrow.types.is_binary(field.type) for field in table.schema):
        raise pyarrow.ArrowInvalid("it holds text that is not UTF-8")
    return table


def _open_parquet(path: Path) -> Any:
    import pyarrow.parquet

    # One file, as it is: read_table would make columns of folder names such as fold=1.
    with pyarrow.parquet.ParquetFile(str(path)) as file:
        return file.read()


def _examples(table: Any, config: DataConfig, path: Path) -> Examples:
    _check_shape(table, path)
    label_index = _label_index(table.column_names, config.target)
    features = [index for index in range(table.num_columns) if index != label_index]
    _check_types(table, features)
    _check_missing(table, path)
    name = table.column_names[label_index]
    labels = table.column(label_index).to_numpy()  # a categorical column comes as its values
    y, class_names = encode_targets(labels, config, f"column {name!r}", "target")
    return Examples(x=_matrix(table, features), y=y, class_names=class_names)


def _check_shape(table: Any, path: Path) -> None:
    if table.num_rows == 0:
        raise DataError(f"a table needs rows, but {path} has none; correct data.path", "path")
    if table.num_columns < 2:
        raise DataError(
            "a table needs a target column and at least one feature column, but "
            f"{path} has only {table.column_names}; separate columns by commas",
            "path",
        )


def _label_index(names: list[str], target: str | None) -> int:
    if target is None:
        return len(names) - 1
    if names.count(target) == 1:
        return names.index(target)
    close = difflib.get_close_matches(target, names, n=1)
    columns = ", ".join(map(repr, names[:MOST_LISTED])) + (", …" if names[MOST_LISTED:] else "")
    hint = f"the closest name is {close[0]!r}" if close else f"the columns are {columns}"
    raise DataError(
        f"target must name exactly one column, but {names.count(target)} are called {target!r}; "
        f"{hint}",
        "target",
    )


def _check_types(table: Any, features: list[int]) -> None:
    from pyarrow import types

    numeric = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
    fields = [table.schema.field(index) for index in features]
    # A column of nulls alone has no type; it is refused for what it lacks.
    others = [
        f"{field.name!r} ({field.type})"
        for field in fields
        if not any(is_numeric(field.type) for is_numeric in (*numeric, types.is_null))
    ]
    if others:
        raise DataError(
            f"feature columns must be numeric or boolean, but these are not: {', '.join(others)}; "
            "drop or encode them, or name the target column with data.target",
            "target",
        )


def _check_missing(table: Any, path: Path) -> None:
    for name, column in zip(table.column_names, table.columns, strict=True):
        missing = column.null_count + _num_blank(column)
        if missing:
            raise DataError(
                f"a table may have no missing values, but column {name!r} of {path} has "
                f"{missing}; fill them in or drop those rows",
                "path",
            )


def _num_blank(column: Any) -> int:
    """Empty strings: what a CSV file has where a label is missing."""
    import pyarrow.compute
    from pyarrow import types

    if not (types.is_string(column.type) or types.is_large_string(column.type)):
        return 0
    return int(pyarrow.compute.sum(pyarrow.compute.equal(column, "")).as_py() or 0)


def _matrix(table: Any, features: list[int]) -> Float32Array:
    x = np.empty((table.num_rows, len(features)), dtype=np.float32)
    for place, index in enumerate(features):
        with np.errstate(over="ignore"):  # an overflow is refused as infinite, by name
            x[:, place] = table.column(index).to_numpy()
        wrong = int((~np.isfinite(x[:, place])).sum())
        if wrong:
            raise DataError(
                f"features must be finite in float32, but column {table.column_names[index]!r} "
                f"has {wrong} values that are not; correct or drop those rows",
                "path",
            )
    return x
