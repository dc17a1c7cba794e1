"""From rows to columns: frames whose dtypes do not depend on how many rows there are.

Called by ``hpsearch.analysis.frames``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hpsearch.analysis.layout import TIME, TRIALS
from hpsearch.spec.space import Choice, Parameter, Space, value_types
from hpsearch.storage import codec

DType = Any  # the name of a dtype, or a CategoricalDtype


def to_frame(rows: Sequence[Sequence[Any]], dtypes: Mapping[str, DType]) -> pd.DataFrame:
    """The first columns of ``rows``, under the names of ``dtypes``."""
    return pd.DataFrame(_columns(rows, dtypes))


def _columns(rows: Sequence[Sequence[Any]], dtypes: Mapping[str, DType]) -> dict[str, Any]:
    values = list(zip(*rows, strict=True)) or [()] * len(dtypes)
    pairs = zip(dtypes.items(), values, strict=False)
    return {name: to_array(of_it, dtype) for (name, dtype), of_it in pairs}


def trials_frame(
    space: Space,
    rows: Sequence[Sequence[Any]],
    params: Sequence[str],
    dtypes: Mapping[str, DType] = TRIALS,
) -> pd.DataFrame:
    """The first columns of ``rows``, and one a parameter, out of ``params`` in JSON."""
    values = codec.decode_lists(params)
    searched = {
        name: _parameter([each.get(name) for each in values], dtype_of(parameter))
        for name, parameter in space.parameters.items()
    }
    return pd.DataFrame({**_columns(rows, dtypes), **searched})


def _parameter(values: list[Any], dtype: DType) -> Any:
    if dtype == "object":
        values = [tuple(value) if isinstance(value, list) else value for value in values]
    return to_array(values, dtype)


def to_array(values: Sequence[Any], dtype: DType) -> Any:
    """A column's array; the categories of "category" are in the order of their appearance.

    Times may be texts in UTC, as SQLite has them, and floats the text 'nan'.
    """
    if dtype == TIME:
        places, different = pd.factorize(np.array(values, dtype=object))  # many rows have the same
        return pd.to_datetime(different, utc=True).as_unit("us").array.take(places, allow_fill=True)
    # A CategoricalDtype, with categories of its own, is equal to "category" as well.
    if isinstance(dtype, str) and dtype == "category":
        dtype = pd.CategoricalDtype([value for value in dict.fromkeys(values) if value is not None])
    if dtype == "float64":
        return np.array(values, dtype=np.float64)
    if dtype == "object":
        return pd.Series(list(values), dtype=dtype).array
    return pd.array(list(values), dtype=dtype)


def dtype_of(parameter: Parameter) -> DType:
    """The narrowest that holds every value of the parameter, and NA where it is not active."""
    kinds = value_types(parameter)
    if kinds == {str}:
        return pd.CategoricalDtype(_categories(parameter))
    if kinds == {bool}:
        return "boolean"
    if kinds == {int}:
        return "Int64"
    return "float64" if kinds == {int, float} or kinds == {float} else "object"


def _categories(parameter: Parameter) -> list[str]:
    """The texts that a parameter takes, in the order of the spec."""
    texts = [
        value
        for each in parameter.definitions
        if isinstance(each, Choice)
        for value in each.choices
        if value is not None
    ]
    return list(dict.fromkeys(texts))
