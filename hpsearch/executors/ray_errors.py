"""What an error of Ray's says, in one line: they are long, and the reason stands at either end.

Called by ``hpsearch.executors.ray``.
"""

from __future__ import annotations

import click
from ray.exceptions import ActorDiedError, RayError, RayTaskError, UnserializableException

from hpsearch.executors.base import LOW_ON_MEMORY

STARTING = "in its creation task"
# What was raised there; of the latter kind if its class cannot be made again here, as one of a
# user's own that is not importable here, or takes more than a message.
RAISED = (RayTaskError, UnserializableException)


def last_line(error: RayError) -> str:
    """Of what was raised on a worker: the exception itself."""
    return plain(error).splitlines()[-1]


def why_lost(error: RayError) -> str:
    """Why a worker is gone: that it was memory, what it raised as it started, or Ray's own word."""
    lines = plain(error).splitlines()
    memory = next((line for line in lines if LOW_ON_MEMORY in line), None)
    if memory is not None:
        return memory
    if isinstance(error, ActorDiedError) and STARTING in lines[0]:
        return f"it could not start: {lines[-1]}"
    return lines[0]


def plain(error: RayError) -> str:
    """All that it says, without colours; of what was raised the traceback alone."""
    return click.unstyle(str(error)).strip().rpartition("ray.exceptions.RayTaskError: ")[2]
