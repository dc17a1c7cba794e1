"""WorkerProcess: a process of this machine that trains, as the one that started it sees it.

Started by ``crew``; what runs in it is ``workers.process``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from typing import Any

from workers.calls import Answer, Ready, Request, Setup

LOG_BYTES = 4096  # of the end of what it printed, in which its last line is looked for
END_S = 5.0


class WorkerGone(Exception):
    """The process has ended; the text says how, and the last that it printed."""


class WorkerProcess:
    """Imports PyTorch as soon as it is made; trains once it is set up.

    It is no multiprocessing.Process: spawned, that would run a notebook's or a script's own code
    again, and forked, it would have the locks of threads that it has not.
    """

    def __init__(self, data_file: int, gpus: str) -> None:
        """It finds its data in ``data_file``, and sees the ``gpus``, as CUDA_VISIBLE_DEVICES."""
        self.connection: Connection[Any, Any]
        self.connection, theirs = Pipe()
        self._log = tempfile.TemporaryFile("a+b")  # noqa: SIM115 - as long as the process
        # In a process group of its own: Ctrl-C goes to the terminal's, and it is the coordinator
        # that stores what it has taken in and then ends its workers.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "workers.process", str(theirs.fileno()), str(data_file)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,  # not to the terminal, where the progress is
            stderr=self._log,
            env=_environment(gpus),
            pass_fds=(theirs.fileno(), data_file),
            process_group=0,
        )
        theirs.close()  # or the connection would not end with the process
        self._device: str | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def device(self) -> str | None:
        """What it trains on; None until it has said that its data are there."""
        return self._device

    def send(self, request: Setup | Request) -> None:
        """If it is gone, that is told by :meth:`receive`."""
        with suppress(OSError):
            self.connection.send(request)

    def receive(self) -> Answer:
        """Wait for the next that it says. Raises WorkerGone if there will be nothing."""
        try:
            answer: Answer = self.connection.recv()
        except (EOFError, OSError):
            raise WorkerGone(self._epitaph()) from None
        if isinstance(answer, Ready):
            self._device = answer.device
        return answer

    def kill(self) -> None:
        """What was taken in of it is stored, and nothing else of it is wanted."""
        self._process.kill()

    def end(self) -> None:
        """Kill it, and see that nothing is left of it."""
        self.kill()
        self.connection.close()
        with suppress(subprocess.TimeoutExpired):  # a killed one may still wait for a disk
            self._process.wait(END_S)
        self._log.close()

    def _epitaph(self) -> str:
        """How it ended and its last line, such as "ended by SIGKILL"."""
        with suppress(subprocess.TimeoutExpired):  # that it hung up is known before its exit code
            self._process.wait(END_S)
        how = _how(self._process.poll())
        size = os.fstat(self._log.fileno()).st_size
        said = os.pread(self._log.fileno(), LOG_BYTES, max(0, size - LOG_BYTES))
        lines = said.decode(errors="replace").strip().splitlines()
        return f"{lines[-1].strip()} ({how})" if lines else how


def _how(exit_code: int | None) -> str:
    if exit_code is None:
        return "it does not answer any more"
    if exit_code >= 0:
        return f"exit code {exit_code}"
    named = {sign.value: sign.name for sign in signal.Signals}
    return f"ended by {named.get(-exit_code, f'signal {-exit_code}')}"


def _environment(gpus: str) -> dict[str, str]:
    """Ours, in which what is imported there is what would be imported here."""
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    return {**os.environ, "CUDA_VISIBLE_DEVICES": gpus, "PYTHONPATH": path}
