"""An unpickler that admits numpy arrays and nothing else, for data files that come as pickles.

Used by ``workers.data.cifar10``. A pickle may call whatever it names, so it names only these.
"""

from __future__ import annotations

import codecs
import io
import pickle
from typing import Any

import numpy as np

from workers.data.config import DataError

_reconstruct = np.empty(0).__reduce__()[0]  # by its public door: its module was renamed in numpy 2

ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    # How Python 3 writes bytes in the protocols of Python 2.
    ("_codecs", "encode"): codecs.encode,
    ("__builtin__", "bytes"): bytes,
}


def unpickle_arrays(content: bytes, name: str) -> Any:
    """The object of a pickle of plain containers and numpy arrays; old strings come as bytes.

    Raises DataError, naming the file ``name``, for any other global and for a damaged pickle.
    """
    try:
        return _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    except DataError as error:
        raise DataError(f"{name}: {error}", error.key) from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DataError(
            f"{name} must be a pickle of numpy arrays, but it cannot be read "
            f"({type(error).__name__}: {error}); it is truncated or damaged, get it again",
            "path",
        ) from error


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return ADMITTED[module_name, global_name]
        except KeyError:
            raise DataError(
                "a pickle may name numpy arrays only, but this one names "
                f"{module_name}.{global_name}; do not trust it, get the official file",
                "path",
            ) from None
