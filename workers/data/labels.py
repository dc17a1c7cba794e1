"""Targets of a source as arrays: class codes in sorted order, or the numbers of a regression.

Called by the readers of this room whose targets may be of any type.
"""

from __future__ import annotations

from decimal import Decimal

import numpy as np

from workers.data.config import DataConfig, DataError
from workers.data.examples import Array, Float32Array, Int64Array

MOST_FLOAT_CLASSES = 50


def encode_targets(
    labels: Array, config: DataConfig, what: str, key: str
) -> tuple[Array, tuple[str, ...]]:
    """``labels`` [N] as ``config.task`` takes them: codes and their names, or numbers and none.

    ``what`` names the labels in an error, ``key`` the field at fault. Raises DataError.
    """
    if config.task == "regression":
        return read_numbers(labels, what, key), ()
    return encode_labels(labels, what, key)


def read_numbers(labels: Array, what: str, key: str) -> Float32Array:
    """``labels`` [N] as float32. Raises DataError unless all are numbers, finite in float32."""
    decimals = labels.dtype.kind == "O" and all(isinstance(label, Decimal) for label in labels)
    if labels.dtype.kind not in "buif" and not decimals:
        raise DataError(
            f"a regression needs targets that are numbers, but {what} is {_kind(labels)}; "
            "write task: classification, or name another target",
            key,
        )
    with np.errstate(over="ignore"):  # an overflow is refused as infinite
        numbers: Float32Array = labels.astype(np.float32)
    wrong = int((~np.isfinite(numbers)).sum())
    if wrong:
        raise DataError(
            f"a regression needs targets that are finite in float32, but {what} has {wrong} "
            "that are not; correct or drop those rows",
            key,
        )
    return numbers


def _kind(labels: Array) -> str:
    """What the labels are, in a word."""
    first = next(iter(labels), labels.dtype)
    return "text" if isinstance(first, str) else type(first).__name__


def encode_labels(labels: Array, what: str, key: str) -> tuple[Int64Array, tuple[str, ...]]:
    """Codes 0..C-1 of ``labels`` [N] in their sorted order, and the C names.

    ``what`` names the labels in an error, ``key`` the field at fault. Raises DataError for missing
    or unsortable labels, and for what looks like a regression target.
    """
    is_float = labels.dtype.kind == "f"
    missing = int(np.isnan(labels).sum()) if is_float else 0
    if missing:
        raise DataError(
            f"every row needs a label, but {what} has {missing} missing; drop those rows", key
        )
    try:
        classes, codes = np.unique(labels, return_inverse=True)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"labels must be of one type that can be sorted, but {what} cannot ({error}); "
            "write them as integers or strings",
            key,
        ) from error
    if is_float and len(classes) > MOST_FLOAT_CLASSES:
        raise DataError(
            f"labels must be classes, but {what} holds {len(classes)} distinct real numbers; "
            "write task: regression, or bin them into classes",
            key,
        )
    return codes.astype(np.int64), tuple(str(name) for name in classes.tolist())
