"""Logs of the commands that run for long: a JSON object a line, for people and for machines.

Set up by ``cli.service``.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

FIELDS = ("search", "stage", "trial")  # given as ``extra``


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            **{name: getattr(record, name) for name in FIELDS if hasattr(record, name)},
            "message": record.getMessage(),
        }
        return json.dumps(line, ensure_ascii=False)


def log_to_stderr() -> None:
    """Write what hpsearch logs, and nothing of other packages."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines())
    logger = logging.getLogger("hpsearch")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
