"""A worker that is a process of its own: ``python -m workers.process CONNECTION DATA``.

Started by ``hpsearch.executors.worker_process``, which talks to it through CONNECTION, one end of a
pair of sockets, and puts the data into the file DATA; both are descriptors that it inherits.
"""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from typing import Any

from workers.actor import TrainingWorker, import_training
from workers.calls import Done, Failed, Found, Ready, Request, Said, Setup
from workers.messages import TrialGroup
from workers.shared_data import read


def main(connection_fd: int, data_fd: int) -> None:
    """Import PyTorch, wait for the data, and then do what is asked, one after the other."""
    connection: Connection[Any, Any] = Connection(connection_fd)
    requests: SimpleQueue[Any] = SimpleQueue()
    Thread(target=_receive, args=(connection, requests), daemon=True).start()
    import_training()
    worker = _made(requests.get(), data_fd)
    connection.send(Ready(device=worker.device_name()))
    while True:
        _carry_out(requests.get(), worker, connection)


def _receive(connection: Connection[Any, Any], requests: SimpleQueue[Any]) -> None:
    """Queue what comes, until nobody is there who could send: then end, whatever is being done.

    So a worker never outlives the process that started it, however that ended.
    """
    try:
        while True:
            requests.put(connection.recv())
    except (EOFError, OSError):
        pass
    except BaseException:  # what was sent cannot be read here: said in the log
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):  # whatever becomes of the log
            sys.stderr.flush()
        os._exit(1)  # the main thread may be in the middle of an epoch


def _made(setup: Setup, data_fd: int) -> TrainingWorker:
    dataset = read(setup.shared, data_fd)
    worker = TrainingWorker(dataset, setup.num_threads, setup.name, setup.num_sharing)
    if setup.num_devices > 1:
        worker.join(f"file://{setup.meeting}", setup.rank, setup.num_devices, setup.form)
    return worker


def _carry_out(request: Request, worker: TrainingWorker, connection: Connection[Any, Any]) -> None:
    try:
        if isinstance(request, TrialGroup):
            for report in worker.train(request):
                connection.send(Said(report=report))
        else:
            connection.send(Found(results=worker.check(request)))
    except Exception as error:  # whatever a configuration makes PyTorch raise
        connection.send(Failed(summary=_summary(error), traceback=traceback.format_exc()))
    else:
        connection.send(Done())


def _summary(error: Exception) -> str:
    return traceback.format_exception_only(error)[-1].strip().partition("\n")[0]


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
