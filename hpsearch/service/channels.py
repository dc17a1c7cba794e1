"""Channels: how people are told that a search has ended: a webhook, and a command of their own.

Used by ``notifying``, and by ``hpsearch run`` at its end. Neither is given to a shell.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from hpsearch.errors import HpsearchError

ANSWER_S = 10.0  # of a webhook
COMMAND_S = 60.0

Told = Mapping[str, Any]


class NotTold(HpsearchError):
    """A notice has not arrived; it may, when it is tried again."""


class Channel(Protocol):
    """Tells one notice, or raises NotTold."""

    def tell(self, told: Told) -> None: ...


@dataclass(frozen=True, slots=True)
class Webhook:
    """POSTs a notice as JSON to ``url``, which may hold a secret and so is shown nowhere."""

    url: str

    def __post_init__(self) -> None:
        """Raises HpsearchError for what is no address of a web server."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise HpsearchError(
                "a webhook must be a URL as in https://HOST/PATH, but "
                f"{parts.scheme or self.url[:20]!r} begins none: mend --webhook"
            )

    def tell(self, told: Told) -> None:
        import requests

        host = urlsplit(self.url).hostname
        try:
            answer = requests.post(self.url, json=told, timeout=ANSWER_S, allow_redirects=False)
        except requests.RequestException as error:
            raise NotTold(f"the webhook at {host} failed ({type(error).__name__})") from None
        if not 200 <= answer.status_code < 300:
            raise NotTold(f"the webhook at {host} answered {answer.status_code}")


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
        said = {f"HPSEARCH_SEARCH_{field.upper()}": str(told[field]) for field in fields}
        try:
            ended = subprocess.run(
                self.words,
                input=json.dumps(told).encode(),
                env={**os.environ, **said},
                timeout=COMMAND_S,
                capture_output=True,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotTold(f"{self.words[0]} failed ({type(error).__name__})") from None
        if ended.returncode:
            said_last = ended.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise NotTold(f"{self.words[0]} ended with {ended.returncode}: {''.join(said_last)}")


def channels(webhook: str | None, on_end: str | None) -> list[Channel]:
    """What is asked for. Raises HpsearchError for what cannot be."""
    found: list[Channel] = []
    if webhook:
        found.append(Webhook(webhook))
    if on_end:
        found.append(Command.of(on_end))
    return found
