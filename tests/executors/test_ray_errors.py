"""What is told of a worker on Ray that is gone: the reason, wherever Ray has put it."""

from __future__ import annotations

import pickle
import traceback

from ray.exceptions import (
    ActorDiedError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
    UnserializableException,
    WorkerCrashedError,
)

from hpsearch.coordinator.failures import is_out_of_memory
from hpsearch.executors.ray_errors import RAISED, last_line, plain, why_lost
from hpsearch.storage.failures import headline


def raised(cause: Exception, where: str = "train") -> RayTaskError:
    """As Ray makes it on a worker."""
    try:
        raise cause
    except Exception:
        text = traceback.format_exc()
    name = f"ray::RayWorker.{where}()"
    return RayTaskError(where, text, cause, proctitle=name, pid=7, ip="127.0.0.1")


def test_a_worker_that_cannot_start_is_told_with_what_it_raised() -> None:
    died = ActorDiedError(raised(ModuleNotFoundError("No module named 'there'"), "__init__"))
    assert str(died).startswith("The actor died because of an error raised in its creation task")
    why = "it could not start: ModuleNotFoundError: No module named 'there'"
    assert why_lost(died) == why
    assert last_line(died) == "ModuleNotFoundError: No module named 'there'"


def test_a_worker_that_was_killed_is_told_as_ray_tells_it() -> None:
    for error in (WorkerCrashedError(), ActorDiedError()):
        assert why_lost(error) == str(error).splitlines()[0]
    memory = OutOfMemoryError("task failed\nthe node was running low on memory")
    assert is_out_of_memory(why_lost(memory))


class Own(Exception):
    """That takes two arguments, so that it cannot be made again from its text."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)


def test_what_cannot_be_made_again_here_was_raised_and_is_no_lost_worker() -> None:
    error = RayError.from_bytes(raised(Own("the cable is loose", 3)).to_bytes())
    assert isinstance(error, UnserializableException)
    assert isinstance(error, RAISED)
    assert headline(plain(error)).endswith("Own: the cable is loose")
    assert "Failed to deserialize" not in plain(error)


def test_the_traceback_of_what_was_raised_is_as_it_is() -> None:
    error = pickle.loads(pickle.dumps(raised(ValueError("too few"))))
    assert plain(error).endswith("ValueError: too few")
    assert last_line(error) == "ValueError: too few"
