"""The feed: which examples the rows of a stack see, in what order, and how they are changed.

``DeviceData`` is made once an actor, a ``Feed`` once a group; the loop takes ``Batch``es from it.
"""

from workers.training.feed.batch import Batch, Whole
from workers.training.feed.device_data import DeviceData
from workers.training.feed.feed import Feed

__all__ = ["Batch", "DeviceData", "Feed", "Whole"]
