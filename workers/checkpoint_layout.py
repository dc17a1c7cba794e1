"""How a checkpoint file names what lies in its rows: written and read in one place.

Used by ``workers.training`` with torch tensors and by ``hpsearch.checkpoints`` with numpy arrays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from math import prod
from typing import Any

Layout = Sequence[tuple[str, Sequence[int]]]  # (name, shape) of each tensor in a row, in order


def dump_layout(weights: Layout, buffers: Layout) -> str:
    """The metadata ``layout``: what lies in a row of ``weights``, and in one of ``buffers``."""
    return json.dumps({"weights": weights, "buffers": buffers})


def named_tensors(file: Any, metadata: Mapping[str, str], rows: slice) -> Iterator[tuple[str, Any]]:
    """(name, tensor [rows, *shape]) of all that lies in ``rows`` of an open safetensors file.

    The weights are those that a trial was validated with: their moving average where the file keeps
    one, which equals the weights in rows without. ValueError for a layout of other rows.
    """
    matrices = {"weights": "average"} if "average" in set(file.keys()) else {}
    for matrix, layout in json.loads(metadata["layout"]).items():
        if layout:
            whole = file.get_slice(matrices.get(matrix, matrix))[rows.start : rows.stop]
            ends = list(accumulate((prod(shape) for _, shape in layout), initial=0))
            if ends[-1] != whole.shape[1]:
                raise ValueError(f"rows have {whole.shape[1]} numbers, but the layout {ends[-1]}")
            for (name, shape), (start, stop) in zip(layout, pairwise(ends), strict=True):
                yield name, whole[:, start:stop].reshape((len(whole), *shape))
