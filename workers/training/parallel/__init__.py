"""Several devices that train one group together: each its part of every minibatch.

``devices`` says what the loop asks of them, and is what one device answers; ``data_parallel`` are
several, joined by torch.distributed.
"""

from __future__ import annotations

from workers.training.parallel.devices import ALONE, Alone, Devices, PeersLost
from workers.training.parallel.portion import Portion, portion_of

__all__ = ["ALONE", "Alone", "Devices", "PeersLost", "Portion", "portion_of"]
