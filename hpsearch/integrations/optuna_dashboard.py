"""optuna-dashboard on our database: its pages for every search, live, and nothing that writes.

Called by ``hpsearch dashboard --optuna``; optuna-dashboard is in the extra ``hpsearch[dashboard]``.
"""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from hpsearch.errors import HpsearchError
from hpsearch.integrations.optuna_live import READ_ONLY, LiveStorage
from hpsearch.sampling.studies import quiet

READS = ("GET", "HEAD")


def serve(db: str | None, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve all searches of the database until this process is interrupted.

    ``ready`` is called with the address once it answers; port 0 takes one that is free. Raises
    HpsearchError where the extra is not installed or the address cannot be had, StorageError for a
    database that is not there or cannot be read.
    """
    with quiet(), _server(_application(db), host, port) as server:
        ready(f"http://{_in_url(host)}:{server.server_port}/dashboard")
        server.serve_forever()


def _application(db: str | None) -> WSGIApplication:
    try:
        from optuna_dashboard import wsgi
    except ImportError as error:
        raise HpsearchError(
            f"optuna-dashboard must be installed to be served, but is not ({error}): "
            "pip install 'hpsearch[dashboard]'"
        ) from error
    _log_first_lines(logging.getLogger("optuna_dashboard"))
    return reading_only(wsgi(LiveStorage(db)))


def reading_only(application: WSGIApplication) -> WSGIApplication:
    """``application`` without what would write: that is refused with 403 and the reason as JSON."""
    refusal = json.dumps({"reason": READ_ONLY}).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(refusal)))]

    def respond(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in READS:
            return application(environ, start_response)
        start_response("403 Forbidden", headers)
        return [refusal]

    return respond


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # a request that is being answered does not keep the process


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """The page asks every few seconds: no line for each."""


def _server(application: WSGIApplication, host: str, port: int) -> WSGIServer:
    try:
        return make_server(host, port, application, _Server, _Silent)
    except OSError as error:
        is_taken = error.errno == errno.EADDRINUSE
        mend = "give another --port, or 0 for any that is free" if is_taken else "correct --host"
        raise HpsearchError(
            f"the dashboard needs an address of this machine that nobody listens at, but "
            f"{host}:{port} cannot be had ({error.strerror}): {mend}"
        ) from error


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _log_first_lines(logger: logging.Logger) -> None:
    """It logs an error with the traceback as part of its text; a person needs what it says."""
    handler = logging.StreamHandler()
    handler.setFormatter(_FirstLine())
    logger.handlers, logger.propagate = [handler], False


class _FirstLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return record.getMessage().partition("\n")[0]
