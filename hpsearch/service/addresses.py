"""Addresses of clusters, as ``--ray`` gives them: which can be, and where they listen.

Called by ``jobs`` before it asks Ray for a client, and by ``serving`` before anything is begun.
"""

from __future__ import annotations

import re
import socket

from hpsearch.errors import HpsearchError

HERE = "auto"  # Ray itself knows where that listens
PROBE_S = 3.0
PORTS = {"http": 80, "https": 443}
_ADDRESS = re.compile(
    r"(?:(?P<scheme>https?|ray)://)?(?P<host>[\w.-]+|\[[\w:.%]+\])(?::(?P<port>[0-9]{1,5}))?(?:/.*)?"
)


def check_address(address: str) -> None:
    """Raises HpsearchError for one at which no cluster can ever be."""
    _place(address)


def probe(address: str) -> None:
    """Raises OSError if nobody listens there: Ray would find out in half a minute, not at once."""
    place = _place(address)
    if place is not None:
        socket.create_connection(place, PROBE_S).close()


def _place(address: str) -> tuple[str, int] | None:
    """Host and port; None for the cluster that runs here."""
    if address == HERE:
        return None
    found = _ADDRESS.fullmatch(address)
    port = 0 if found is None else int(found["port"] or PORTS.get(found["scheme"], 0))
    if found is None or not 0 < port < 2**16:
        raise HpsearchError(
            "--ray (or RAY_ADDRESS) must be the HOST:PORT of a Ray cluster, its dashboard's "
            f"http://HOST:PORT, or auto for the one that runs here, but got {address!r}: `ray "
            "start --head` prints it where it starts one"
        )
    return found["host"].strip("[]"), port
