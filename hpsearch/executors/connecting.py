"""Connecting to Ray in a thread: starting a cluster takes seconds, most of them spent waiting.

Entered by ``backends``; ``hpsearch.api`` reads the data and opens the database meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpsearch.executors.cluster import Cluster


@contextmanager
def connecting(
    address: str, title: str, code: bytes | None = None
) -> Iterator[Callable[[], Cluster]]:
    """Begin to connect, and give what waits for the cluster, which raises what ``connect`` raises.

    If the body raises, nobody waits: what was started for it is ended before anything is started
    anew. If it does not, the connection stays for as long as this process lives.
    """
    connected = _RAY.connect(address, title, code)
    try:
        yield connected.result
    except BaseException:
        _RAY.refuse(connected)
        raise


class _RayThread:
    """Connects and disconnects, one call after the other, in one thread of the process.

    The thread never ends: Linux ends with a thread what the thread began. (Ray asks for that by
    PR_SET_PDEATHSIG, so that its processes do not outlive ours.)
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._is_unstarted = threading.Lock()  # until it is acquired, for good
        self._latest: Future[Cluster] | None = None

    def connect(self, address: str, title: str, code: bytes | None) -> Future[Cluster]:
        """Connect once all calls before are done."""
        connected: Future[Cluster] = Future()
        self._calls.put(partial(self._connect, address, title, code, connected))
        if self._is_unstarted.acquire(blocking=False):
            threading.Thread(target=self._run, name="ray", daemon=True).start()
        return connected

    def refuse(self, connected: Future[Cluster]) -> None:
        """Nobody waits for it: do not begin to connect, or end what was started."""
        if not connected.cancel():
            self._calls.put(partial(self._disconnect, connected))

    def _run(self) -> None:
        while True:
            self._calls.get()()

    def _connect(
        self, address: str, title: str, code: bytes | None, connected: Future[Cluster]
    ) -> None:
        if not connected.set_running_or_notify_cancel():
            return
        try:
            from hpsearch.executors.cluster import connect

            cluster = connect(address, title, code)
        except BaseException as error:  # it is raised where the cluster is waited for
            connected.set_exception(error)
        else:
            self._latest = connected
            connected.set_result(cluster)

    def _disconnect(self, connected: Future[Cluster]) -> None:
        """Unless it was not started for this one, or another has connected to it since."""
        if connected is self._latest and connected.result().is_own:
            from hpsearch.executors.cluster import disconnect

            with suppress(Exception):  # nobody waits for this either
                disconnect()


_RAY = _RayThread()
