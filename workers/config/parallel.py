"""How the devices of a trial part its work, by name: which grid they are.

Read by ``hpsearch.spec`` to check what a user asks for, and by ``workers.training.parallel``.
"""

from __future__ import annotations

from math import isqrt

FORMS = ("data", "model", "hybrid")


def grid(num_devices: int, form: str) -> tuple[int, int]:
    """How many parts minibatches have, and how many each layer: their product is ``num_devices``.

    ``hybrid`` is as even as can be, minibatches having the more parts: 2 x 2, 3 x 2, 4 x 2. Of a
    prime number of devices each has a part of minibatches.
    """
    if form == "model":
        return 1, num_devices
    even = next(n for n in range(isqrt(num_devices), 0, -1) if num_devices % n == 0)
    layers = even if form == "hybrid" else 1
    return num_devices // layers, layers
