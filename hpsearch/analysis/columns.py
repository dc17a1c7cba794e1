"""From rows to columns: frames whose dtypes do not depend on how many rows there are.

Called by ``hpsearch.analysis.frames``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from hpsearch.spec.space import Choice, Definition, Parameter, Value
from hpsearch.storage import codec

DType = Any  # the name of a dtype, or a CategoricalDtype


def to_frame(rows: Sequence[Sequence[Any]], dtypes: Mapping[str, DType]) -> pd.DataFrame:
    """The first columns of ``rows``, under the names of ``dtypes``."""
    columns = {
        name: to_series([row[place] for row in rows], dtype)
        for place, (name, dtype) in enumerate(dtypes.items())
    }
    return pd.DataFrame(columns)


def to_lists(texts: pd.Series) -> pd.Series:
    """The lists that a column holds as JSON; None stays None."""
    values = [None if each is None else list(each) for each in codec.decode_all(texts)]
    return pd.Series(values, index=texts.index, dtype="object")


def to_series(values: list[Any], dtype: DType) -> pd.Series:
    """A column; the categories of "category" are in the order of their appearance."""
    # A CategoricalDtype, with categories of its own, is equal to "category" as well.
    if isinstance(dtype, str) and dtype == "category":
        dtype = pd.CategoricalDtype([value for value in dict.fromkeys(values) if value is not None])
    series: pd.Series = pd.Series(values, dtype=dtype)
    return series


def dtype_of(parameter: Parameter) -> DType:
    """The narrowest that holds every value of the parameter, and NA where it is not active."""
    values = [value for each in parameter.definitions for value in _examples(each)]
    kinds = {type(value) for value in values}
    if kinds == {str}:
        return pd.CategoricalDtype(list(dict.fromkeys(values)))
    if kinds == {bool}:
        return "boolean"
    if kinds == {int}:
        return "Int64"
    return "float64" if kinds == {int, float} or kinds == {float} else "object"


def _examples(definition: Definition) -> Sequence[Value]:
    """Values of every type that the parameter takes."""
    if isinstance(definition, Choice):
        return [value for value in definition.choices if value is not None]
    return [int(definition.low) if definition.is_int else float(definition.low)]
