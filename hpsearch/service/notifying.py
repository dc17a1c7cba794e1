"""Notifying: tells people of searches that have ended, in a thread beside the Server.

Started by ``serving``; ``tell_now`` is for ``hpsearch run``. A search never waits for it.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hpsearch.analysis.frames import Frames
from hpsearch.service.channels import Channel, NotTold
from hpsearch.storage.database import Database
from hpsearch.storage.errors import StorageError
from hpsearch.storage.notices import MOST_TRIES, Notice, Notices
from hpsearch.storage.repository import Repository

LOG = logging.getLogger("hpsearch.notices")
POLL_S = 2.0
AT_ONCE_TRIES, AT_ONCE_S = 3, 2.0  # of one that ends here and now, where somebody waits


class Notifier:
    """Tells what is due on ``channels``, one after the other."""

    def __init__(self, database: Database, channels: Sequence[Channel]) -> None:
        self._repository, self._notices = Repository(database), Notices(database)
        self._channels = channels
        self._arrived: dict[int, set[int]] = {}  # by search: the channels that were told

    def start(self) -> None:
        """Go on until the process ends."""
        threading.Thread(target=self._run, name="notices", daemon=True).start()

    def turn(self) -> bool:
        """Tell the next one; False if none is due."""
        notice = self._notices.claim()
        if notice is not None:
            self._tell(notice)
        return notice is not None

    def _run(self) -> None:
        while True:
            try:
                if self.turn():
                    continue
            except StorageError:
                pass  # the server says so, and waits as well
            except Exception:  # whatever it was of one search: the next one is told
                LOG.exception("a notice was not told")
            time.sleep(POLL_S)

    def _tell(self, notice: Notice) -> None:
        told = what_ended(self._repository, notice.search_id)
        if notice.tries == 1:  # it has ended, maybe once more
            self._arrived[notice.search_id] = set()
        arrived = self._arrived.setdefault(notice.search_id, set())
        whys = []
        for place, channel in enumerate(self._channels):
            if place in arrived:
                continue  # the other one failed
            try:
                channel.tell(told)
                arrived.add(place)
            except NotTold as error:
                whys.append(str(error))
                LOG.warning("%s", error, extra={"search": notice.search_id})
        if whys:
            self._notices.failed(notice, "; ".join(whys))
        else:
            self._notices.told(notice)
        if not whys or notice.tries == MOST_TRIES:
            del self._arrived[notice.search_id]


def tell_now(
    repository: Repository,
    search_id: int,
    channels: Sequence[Channel],
    warn: Callable[[str], None],
) -> None:
    """Tell of a search that has ended here; what does not arrive within seconds is only said."""
    told = what_ended(repository, search_id)
    for channel in channels:
        for tried in range(AT_ONCE_TRIES):
            try:
                channel.tell(told)
            except NotTold as error:
                if tried + 1 == AT_ONCE_TRIES:
                    warn(f"not told: {error}")
                else:
                    time.sleep(AT_ONCE_S)
            else:
                break


def what_ended(repository: Repository, search_id: int) -> dict[str, Any]:
    """What is told of a search; ``text`` is all of it in one sentence, as chats show it."""
    search, frames = repository.find_search(search_id), Frames(repository)
    shown = ["number", "value", "mean", "n", "confirmed", *search.spec.space.parameters]
    best = frames.best(search_id, n=1)[shown]
    records: list[dict[str, Any]] = json.loads(best.to_json(orient="records", double_precision=15))
    found = repository.diagnoses(search_id)
    counted = Counter(trial.state for trial in repository.load(search_id)[1])
    told = {
        "id": search.id,
        "name": search.name,
        "state": search.state,
        "message": search.message,
        "finished_at": None if search.finished_at is None else search.finished_at.isoformat(),
        "trials": dict(counted),
        "metric": search.spec.objective.metric,
        "best": records[0] if records else None,
        "warnings": [one.message for one in found if one.kind == "nothing_complete"],
    }
    return {**told, "text": _in_words(told)}


def _in_words(told: Mapping[str, Any]) -> str:
    parts = [f"search {told['name']} (id {told['id']}) is {told['state']}"]
    if (best := told["best"]) is not None:
        over = f" over {best['n']} other seeds" if best["confirmed"] else ""
        parts.append(f"best {told['metric']} {best['mean']:.6g}{over} of trial {best['number']}")
    message = told["message"] or ""
    parts += [warning for warning in told["warnings"] if warning not in message]
    if told["trials"]:
        parts.append(", ".join(f"{count} {state}" for state, count in told["trials"].items()))
    if message:
        parts.append(message)
    return "; ".join(parts)
