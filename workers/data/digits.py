"""scikit-learn's handwritten digits: 1797 images of 8 x 8, embedded, the default of the demo.

Read by ``workers.data.loading``.
"""

from __future__ import annotations

import gzip
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from workers.data.config import DataConfig, DataError
from workers.data.examples import Examples

NUM_GREYS = 16  # pixels are whole numbers 0..16
SIDE = 8
FILE = Path("datasets", "data", "digits.csv.gz")  # a row an image: its pixels, and the digit


def read_digits(config: DataConfig) -> Examples:
    """x [1797, 8, 8] uint8 in 0..16. Raises DataError where scikit-learn is not installed."""
    file = _file()
    try:
        with gzip.open(file, "rt", encoding="ascii") as lines:
            table = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise _missing(f"whose file {file} cannot be read ({error})") from error
    return Examples(
        x=np.ascontiguousarray(table[:, :-1]).reshape(-1, SIDE, SIDE),
        y=table[:, -1].astype(np.int64),
        class_names=tuple(str(digit) for digit in range(10)),
        unit=1 / NUM_GREYS,
    )


def _file() -> Path:
    """Where scikit-learn keeps them. It is not imported: that takes longer than a small search."""
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise _missing("which is not there")
    return Path(package.origin).parent / FILE


def _missing(why: str) -> DataError:
    return DataError(
        f"source digits comes with scikit-learn, {why}; install scikit-learn", "source"
    )
