"""A trainable that calls sys.exit: told as what it did, not as a process that somebody killed.

Applied by ``run`` to what Ray Tune is given. What is made here travels to the workers by value, so
that nothing of ours need be installed there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from traceback import walk_tb
from typing import Any


def told_exits(trainable: Any) -> Any:
    """``trainable`` that raises RuntimeError where it would exit.

    A function that exits without a code, or with 0, has ended by itself. Ray takes an exit for the
    death of the process, and the trial would be tried again.
    """
    return _class(trainable) if inspect.isclass(trainable) else _function(trainable)


def _function(trainable: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(trainable)
    def train(*config: Any, **more: Any) -> Any:
        try:
            return trainable(*config, **more)
        except SystemExit as exit:
            *_, (frame, _) = walk_tb(exit.__traceback__)
            if str(frame.f_globals.get("__name__")).startswith("ray."):
                raise  # so Ray leaves a function that it has ended, from within its report
            if not exit.code:
                return None
            raise RuntimeError(f"the trainable called sys.exit({exit.code!r})") from exit

    return train


def _class(trainable: type[Any]) -> type[Any]:
    def told(name: str) -> Callable[..., Any]:
        @wraps(getattr(trainable, name))
        def call(self: Any, *given: Any, **more: Any) -> Any:
            try:
                return getattr(trainable, name)(self, *given, **more)
            except SystemExit as exit:
                raise RuntimeError(f"the trainable called sys.exit({exit.code!r})") from exit

        return call

    names = ("setup", "step", "save_checkpoint", "load_checkpoint", "reset_config")
    methods = {name: told(name) for name in names}
    return type(trainable.__name__, (trainable,), {"__module__": trainable.__module__, **methods})
