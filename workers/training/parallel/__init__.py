"""Several devices that train one group together: parts of every minibatch, parts of every layer.

``devices`` says what the loop asks of them, and is what one device answers; ``joined`` are several,
by torch.distributed. ``portion`` parts minibatches, ``layers`` and ``shares`` part networks.
"""

from __future__ import annotations

from workers.training.parallel.devices import ALONE, ONE, Alone, Devices, Mesh, PeersLost
from workers.training.parallel.portion import Portion, portion_of

__all__ = [
    "ALONE",
    "ONE",
    "Alone",
    "Devices",
    "Mesh",
    "PeersLost",
    "Portion",
    "portion_of",
]
