"""scikit-learn's handwritten digits: 1797 images of 8 x 8, embedded, the default of the demo.

Read by ``workers.data.loading``.
"""

from __future__ import annotations

import numpy as np

from workers.data.config import DataConfig, DataError
from workers.data.examples import Examples

NUM_GREYS = 16  # pixels are whole numbers 0..16


def read_digits(config: DataConfig) -> Examples:
    """x [1797, 8, 8] uint8 in 0..16. Raises DataError where scikit-learn is not installed."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError(
            f"source digits comes with scikit-learn, which cannot be imported ({error}); "
            "install scikit-learn",
            "source",
        ) from error
    digits = load_digits()
    return Examples(
        x=digits.images.astype(np.uint8),
        y=digits.target.astype(np.int64),
        class_names=tuple(str(name) for name in digits.target_names),
        unit=1 / NUM_GREYS,
    )
