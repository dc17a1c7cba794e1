"""Processes that train as the devices of one trial, joined by gloo, for the tests that compare.

``python -m ranks MEETING RANK NUM CONNECTION`` is one of them: it calls what it is sent.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any

from workers.messages import Report, TrialGroup

NUM = 4
MOST_S = 60.0


class Ranks:
    """``NUM`` processes; the first so many of them are the devices of a call."""

    def __init__(self, folder: Path) -> None:
        self._processes, self._ends = [], []
        path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
        for rank in range(NUM):
            ours, theirs = Pipe()
            given = (f"file://{folder / 'meeting'}", rank, NUM, theirs.fileno())
            command = [sys.executable, "-m", "ranks", *map(str, given)]
            environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
            self._processes.append(
                subprocess.Popen(command, env=environment, pass_fds=(theirs.fileno(),))
            )
            theirs.close()
            self._ends.append(ours)

    def call(self, num: int, function: Callable[..., Any], *given: Any) -> list[Any]:
        """What ``function(mesh, *given)`` gives on each of ``num`` devices, which part data."""
        return self.call_grid((num, 1), function, *given)

    def call_grid(
        self, grid: tuple[int, int], function: Callable[..., Any], *given: Any
    ) -> list[Any]:
        """The same of devices that part data and layers, in so many parts each."""
        num = grid[0] * grid[1]
        for end in self._ends:
            end.send_bytes(pickle.dumps((grid, function, given)))
        answers: dict[Any, Any] = {}
        while len(answers) < NUM:
            ready = wait([end for end in self._ends if end not in answers], MOST_S)
            assert ready, f"devices wait for one another: {len(answers)} of {NUM} have answered"
            answers |= {end: pickle.loads(end.recv_bytes()) for end in ready}
            for answer in answers.values():
                if isinstance(answer, BaseException):  # for which the others now wait
                    raise answer
        return [answers[end] for end in self._ends[:num]]

    def end(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()


@contextmanager
def ranks(folder: Path) -> Iterator[Ranks]:
    made = Ranks(folder)
    try:
        yield made
    finally:
        made.end()


def trained(mesh: Any, group: TrialGroup, dataset: Any) -> list[Report]:
    """The Reports of a group."""
    import torch

    from workers.training.feed import DeviceData
    from workers.training.loop import train

    data = DeviceData(dataset, torch.device("cpu"))
    return list(train(group, data, None, mesh))


def main(meeting: str, rank: int, num: int, connection_fd: int) -> None:
    import torch
    import torch.distributed as dist

    from workers.training.parallel import Mesh
    from workers.training.parallel.joined import Joined, joined

    torch.set_num_threads(1)
    whole = joined(meeting, rank, num, "hybrid", torch.device("cpu"))
    teams = {size: Joined(dist.new_group(list(range(size)))) for size in range(2, num + 1)}
    meshes = {(num // 2, 2): whole}
    for size, team in teams.items():
        meshes |= {(size, 1): Mesh(whole=team, data=team), (1, size): Mesh(whole=team, model=team)}
    connection: Connection[Any, Any] = Connection(connection_fd)
    while True:
        try:
            grid, function, given = pickle.loads(connection.recv_bytes())
        except EOFError:
            return
        try:
            mesh = meshes[grid]
            answer = function(mesh, *given) if rank < prod(grid) else None
        except Exception as error:
            answer = RuntimeError(f"on rank {rank}: {type(error).__name__}: {error}")
        connection.send_bytes(pickle.dumps(answer))  # send would share tensors' memory


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
