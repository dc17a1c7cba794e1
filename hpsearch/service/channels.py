"""Channels: how people are told that a search has ended: a webhook, and a command of their own.

Used by ``notifying``, and by ``hpsearch run`` at its end. Neither is given to a shell.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

from hpsearch.errors import HpsearchError

ANSWER_S = 10.0  # of a webhook
COMMAND_S = 60.0
LOG_BYTES = 4096  # of what a command that failed said last
MOST_SAID = 500  # characters of its last line
MOST_TEXT = 4000  # characters of a variable in its environment

Told = Mapping[str, Any]


class NotTold(HpsearchError):
    """A notice has not arrived; it may, when it is tried again."""


class Channel(Protocol):
    """Tells one notice, or raises NotTold."""

    def tell(self, told: Told) -> None: ...


@dataclass(frozen=True, slots=True)
class Webhook:
    """POSTs a notice as JSON to ``url``, which may hold a secret and so is shown nowhere."""

    url: str = field(repr=False)

    def __post_init__(self) -> None:
        """Raises HpsearchError for what is no address of a web server."""
        try:
            parts = urlsplit(self.url)
            is_sound = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            is_sound = False
        if not is_sound:
            raise HpsearchError(
                "a webhook must be a URL as in https://HOST/PATH, but what was given is none: mend "
                "--webhook, or HPSEARCH_WEBHOOK"
            )

    def tell(self, told: Told) -> None:
        import requests

        host = urlsplit(self.url).hostname
        try:
            # Its answer's body is not read: it may have no end.
            options: dict[str, Any] = {"timeout": ANSWER_S, "allow_redirects": False}
            with requests.post(self.url, json=told, stream=True, **options) as answer:
                status = answer.status_code
        except (requests.RequestException, ValueError) as error:  # the latter: of what is no host
            raise NotTold(f"the webhook at {host} failed ({type(error).__name__})") from None
        if not 200 <= status < 300:
            raise NotTold(f"the webhook at {host} answered {status}")


@dataclass(frozen=True, slots=True)
class Command:
    """Runs a command with a notice as JSON on its stdin, and the most of it in its environment."""

    words: Sequence[str]

    @classmethod
    def of(cls, text: str) -> Command:
        """Parted as by a shell. Raises HpsearchError if there is no such program."""
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise HpsearchError(f"--on-end must be a command, but {error}: {text!r}") from None
        if not words or shutil.which(words[0]) is None:
            raise HpsearchError(
                f"--on-end must begin with a program that is there, but got {text!r}: mend its path"
            )
        return cls(tuple(words))

    def tell(self, told: Told) -> None:
        fields = ("id", "name", "state", "text")
        given = {f"HPSEARCH_SEARCH_{name.upper()}": _text(told[name]) for name in fields}
        with tempfile.TemporaryFile() as log:  # no pipe: what it leaves running would hold that
            try:
                ended = subprocess.run(
                    self.words,
                    input=json.dumps(told).encode(),
                    env={**os.environ, **given},
                    timeout=COMMAND_S,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise NotTold(f"{self.words[0]} failed ({type(error).__name__})") from None
            if ended.returncode:
                code = ended.returncode
                raise NotTold(f"{self.words[0]} ended with {code}: {_last_line(log)}")


def _text(value: object) -> str:
    """As an environment can hold it, which has little room."""
    return str(value).replace("\0", "")[:MOST_TEXT]


def _last_line(log: IO[bytes]) -> str:
    log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_BYTES))
    return "".join(log.read().decode(errors="replace").strip().splitlines()[-1:])[:MOST_SAID]


def channels(webhook: str | None, on_end: str | None) -> list[Channel]:
    """What is asked for. Raises HpsearchError for what cannot be."""
    found: list[Channel] = []
    if webhook:
        found.append(Webhook(webhook))
    if on_end:
        found.append(Command.of(on_end))
    return found
