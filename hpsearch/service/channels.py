"""Channels: how people are told that a search has ended: a webhook, and a command of their own.

Used by ``notifying``, and by ``hpsearch run`` at its end. Neither is given to a shell.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

from hpsearch.errors import HpsearchError

ANSWER_S = 10.0  # of a webhook, from connecting to the last of its headers
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
        if not _is_web_address(self.url):
            raise HpsearchError(
                "a webhook must be a URL as in https://HOST/PATH or https://HOST:PORT/PATH, with a "
                "port of 1 to 65535, but what was given is none: mend --webhook, or "
                "HPSEARCH_WEBHOOK"
            )

    def tell(self, told: Told) -> None:
        # In a thread, which is left to itself where headers come byte by byte: the timeouts of
        # sockets begin anew with each.
        answers, host = SimpleQueue[int | str](), urlsplit(self.url).hostname
        threading.Thread(target=self._post, args=(told, answers), daemon=True).start()
        try:
            answer = answers.get(timeout=ANSWER_S)
        except Empty:
            answer = f"no answer within {ANSWER_S:g} s"
        if isinstance(answer, str):
            raise NotTold(f"the webhook at {host} failed ({answer})")
        if not 200 <= answer < 300:
            raise NotTold(f"the webhook at {host} answered {answer}")

    def _post(self, told: Told, answers: SimpleQueue[int | str]) -> None:
        """Put the status into ``answers``, or the name of what went wrong: more may be secret."""
        import requests

        try:
            # Its answer's body is not read: it may have no end.
            options: dict[str, Any] = {"timeout": ANSWER_S, "allow_redirects": False}
            with requests.post(self.url, json=told, stream=True, **options) as answer:
                answers.put(answer.status_code)
        except Exception as error:
            answers.put(type(error).__name__)


def _is_web_address(url: str) -> bool:
    """As requests, and then the lookup of its host, would take it."""
    import requests

    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")
        requests.Request("POST", url).prepare()
    except (requests.RequestException, ValueError):
        return False
    return parts.scheme in ("http", "https") and host != "" and port != 0


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
                code = self._run(json.dumps(told).encode(), {**os.environ, **given}, log)
            except (OSError, subprocess.TimeoutExpired) as error:
                raise NotTold(f"{self.words[0]} failed ({type(error).__name__})") from None
            if code:
                raise NotTold(f"{self.words[0]} ended with {code}: {_last_line(log)}")

    def _run(self, said: bytes, environment: Mapping[str, str], log: IO[bytes]) -> int:
        """Its exit code; if it does not end in time, all that it has started ends with it."""
        with subprocess.Popen(
            self.words,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env=environment,
            start_new_session=True,
        ) as process:
            try:
                process.communicate(said, timeout=COMMAND_S)
            except BaseException:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
        return process.returncode


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
