"""``serve``: a Server on a database and a Ray cluster, until it is stopped.

Called by ``hpsearch serve``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from hpsearch.service.addresses import check_address
from hpsearch.service.channels import Channel
from hpsearch.service.jobs import RayJobs
from hpsearch.service.notifying import Notifier
from hpsearch.service.server import LOG, Server
from hpsearch.settings import (
    CHECKPOINTS_VARIABLE,
    DATABASE_VARIABLE,
    IMPORTS_VARIABLE,
    PASSWORD_FILE_VARIABLE,
    checkpoint_root,
    database_url,
    given_url,
)
from hpsearch.storage.database import Database
from hpsearch.storage.queue import Queue
from hpsearch.storage.urls import has_password, masked_url, parse_url, sqlite_file


def serve(db: str | None, address: str, searches: int, channels: Sequence[Channel] = ()) -> None:
    """Serve until interrupted; a cluster that does not answer yet is waited for.

    On ``channels`` people are told of searches that have ended.

    Raises StorageError for a database that cannot be used, HpsearchError for an address that
    cannot be.
    """
    check_address(address)
    url = database_url(db)
    database = Database(url)
    database.check_revision()
    logging.getLogger("ray").setLevel(logging.ERROR)
    jobs = RayJobs(address, environment(given_url(db)))
    LOG.info("serving the searches of %s on the cluster %s", masked_url(url), address)
    if channels:
        Notifier(Database(url), channels).start()
    Server(Queue(database), jobs, searches).run()


def environment(url: str) -> dict[str, str]:
    """What jobs need to find the database, where that is no secret, and the checkpoints.

    A URL with a password is left to the cluster's own environment: Ray shows a job's to everybody.
    One whose password is in a file is sent without it, and the cluster has a file of its own.
    """
    found = {}
    if CHECKPOINTS_VARIABLE in os.environ or sqlite_file(url) is not None:
        found[CHECKPOINTS_VARIABLE] = str(checkpoint_root(url))
    if IMPORTS_VARIABLE in os.environ:
        found[IMPORTS_VARIABLE] = os.environ[IMPORTS_VARIABLE]
    if has_password(url):
        LOG.info(
            "the database's URL has a password, which is not sent to the cluster: its nodes must "
            "have %s themselves",
            DATABASE_VARIABLE,
        )
        return found
    if PASSWORD_FILE_VARIABLE in os.environ:
        LOG.info(
            "the database's password is not sent to the cluster: its head must have %s itself",
            PASSWORD_FILE_VARIABLE,
        )
    return {**found, DATABASE_VARIABLE: parse_url(url).render_as_string(hide_password=False)}
