"""Crew: the worker processes of one search, from before its data are read to its end.

Started by ``backends`` and handed to a ProcessExecutor, which ends it.
"""

from __future__ import annotations

import os
import tempfile

from hpsearch.errors import HpsearchError
from hpsearch.executors.machine import gpus_of, num_cpus, visible_gpus
from hpsearch.executors.pool import pool
from hpsearch.executors.worker_process import WorkerProcess
from hpsearch.spec.search import Resources
from workers.shared_data import open_file


class Crew:
    """Processes that import PyTorch from now on; ``data_file`` is where their data will be.

    Those of a worker of several devices lie together; ``meetings`` is a folder for the files in
    which they find one another.
    """

    def __init__(self, resources: Resources) -> None:
        """Raises HpsearchError if the machine has not the GPUs that ``resources`` ask for."""
        if os.name != "posix":
            raise HpsearchError(
                f"--ray processes needs Linux or macOS, but this system is {os.name!r}: use --ray "
                "local, or none"
            )
        self._gpus = visible_gpus()
        self.pool = pool(num_cpus(), len(self._gpus), resources)
        _open_standard_streams()
        self.data_file = open_file()
        self.meetings = tempfile.TemporaryDirectory(prefix="hpsearch-", ignore_cleanup_errors=True)
        self.processes: list[WorkerProcess] = []
        self._has_ended = False
        try:
            for place in range(self.pool.num_devices):
                self.processes.append(self._started(place))
        except OSError as error:
            self.end()
            raise HpsearchError(
                f"{self.pool.num_devices} worker processes must be started, but the system refused "
                f"number {len(self.processes) + 1} ({error.strerror}): lower resources.workers, or "
                "raise what limits it (ulimit -a)"
            ) from error
        except BaseException:
            self.end()
            raise

    def replace(self, place: int) -> None:
        """End the process at ``place`` and start another there, on the same GPU."""
        self.processes[place].end()
        self.processes[place] = self._started(place)

    def end(self) -> None:
        """Kill all of them. May be called twice."""
        if self._has_ended:
            return
        self._has_ended = True
        for process in self.processes:
            process.kill()  # first all of them, so that each ends while others are waited for
        for process in self.processes:
            process.end()
        os.close(self.data_file)
        self.meetings.cleanup()

    def _started(self, place: int) -> WorkerProcess:
        return WorkerProcess(self.data_file, ",".join(gpus_of(place, self.pool, self._gpus)))


def _open_standard_streams() -> None:
    """See that descriptors 0, 1 and 2 are taken, of what was started without some of them too.

    Else the data or a socket would have one of these, and a worker its log in that place.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
