"""Connecting to Ray in a thread: starting a cluster takes seconds, most of them spent waiting.

Entered by ``hpsearch.api``, which reads the data and opens the database meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpsearch.executors.cluster import Cluster


@contextmanager
def connecting(address: str, title: str) -> Iterator[Callable[[], Cluster]]:
    """Begin to connect, and give what waits for the cluster, which raises what ``connect`` raises.

    If the body raises, nobody waits: what was started is ended as soon as it is there. If it does
    not, the connection stays for as long as this process lives.
    """
    connected: Future[Cluster] = Future()
    refused = threading.Event()
    arguments = (address, title, connected, refused)
    threading.Thread(target=_connect, args=arguments, name="ray", daemon=True).start()
    try:
        yield connected.result
    except BaseException:
        refused.set()
        raise


def _connect(
    address: str, title: str, connected: Future[Cluster], refused: threading.Event
) -> None:
    """Never ends once it has started a cluster: Linux ends with a thread what the thread began.

    (Ray asks for that by PR_SET_PDEATHSIG, so that its processes do not outlive ours.)
    """
    try:
        from hpsearch.executors.cluster import connect, disconnect

        cluster = connect(address, title)
    except BaseException as error:  # it is raised where the cluster is waited for
        connected.set_exception(error)
        return
    connected.set_result(cluster)
    if cluster.is_own:
        refused.wait()
        disconnect()
