"""People are told that a search has ended: once, by whoever serves, tried again when it fails."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from command_line import say
from sqlalchemy import select, update
from stored_searches import ELSEWHERE, PROVENANCE, a_spec

from hpsearch.errors import HpsearchError
from hpsearch.service.channels import Command, NotTold, Told, Webhook, channels
from hpsearch.service.notifying import Notifier, tell_now, what_ended
from hpsearch.storage.database import Database
from hpsearch.storage.notices import MOST_TRIES, NOT_TOLD, Notices
from hpsearch.storage.queue import Queue
from hpsearch.storage.repository import Repository
from hpsearch.storage.tables import SearchRow


class Recorder:
    """A channel that fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures, self.told = failures, list[Told]()

    def tell(self, told: Told) -> None:
        if self.failures:
            self.failures -= 1
            raise NotTold("nobody there")
        self.told.append(told)


def ended(database: Database, name: str = "digits") -> int:
    """A search that the service carried out to its end."""
    queue, repository = Queue(database), Repository(database)
    search_id = queue.submit(a_spec(name), PROVENANCE).id
    claim = queue.claim(ELSEWHERE)
    assert claim is not None
    repository.release(claim.lease, "complete")
    return search_id


def make_due(database: Database) -> None:
    """As if the time until the next try were over."""
    with database.write() as connection:
        past = datetime.now(UTC) - timedelta(minutes=1)
        waits = SearchRow.notice_at.is_not(None)
        connection.execute(update(SearchRow).where(waits).values(notice_at=past))


# The outbox


def test_an_ended_search_is_told_once(database: Database) -> None:
    search_id, channel = ended(database), Recorder()
    notifiers = [Notifier(database, [channel]) for _ in range(2)]
    assert [notifier.turn() for notifier in notifiers] == [True, False]
    make_due(database)
    assert not notifiers[0].turn()
    assert [told["id"] for told in channel.told] == [search_id]


def test_what_fails_is_tried_again_later_and_given_up_in_the_end(database: Database) -> None:
    search_id, channel = ended(database), Recorder(failures=100)
    notifier, tries = Notifier(database, [channel]), 0
    while notifier.turn():
        assert not notifier.turn(), "not before its time"
        make_due(database)
        tries += 1
    assert tries == MOST_TRIES
    events = Repository(database).events(search_id)
    assert [event.data["message"] for event in events if event.kind == NOT_TOLD] == ["nobody there"]


def test_one_that_died_before_it_had_told_is_made_up_for(database: Database) -> None:
    search_id = ended(database)
    assert Notices(database).claim() is not None  # and then it dies
    make_due(database)
    channel = Recorder()
    assert Notifier(database, [channel]).turn()
    assert channel.told[0]["id"] == search_id


def test_many_ended_searches_are_told_once_each_by_two_at_once(database: Database) -> None:
    ids, channel = {ended(database, f"s{n}") for n in range(20)}, Recorder()

    def tell() -> None:
        notifier = Notifier(database, [channel])
        while notifier.turn():
            pass

    threads = [threading.Thread(target=tell) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told["id"] for told in channel.told) == sorted(ids)


def test_of_a_search_that_goes_on_nothing_is_told_until_it_ends_again(database: Database) -> None:
    queue, channel = Queue(database), Recorder()
    search_id = queue.submit(a_spec(), PROVENANCE).id
    assert queue.cancel(search_id) == "cancelled"
    queue.submit_again(search_id)
    notifier = Notifier(database, [channel])
    assert not notifier.turn()
    queue.cancel(search_id)
    assert notifier.turn()
    assert channel.told[0]["state"] == "cancelled"


def test_what_ended_while_the_last_notice_was_told_is_told_as_well(database: Database) -> None:
    search_id, notices = ended(database), Notices(database)
    first = notices.claim()
    assert first is not None
    with database.write() as connection:  # it ends once more before that has arrived
        now = datetime.now(UTC) - timedelta(seconds=1)
        connection.execute(update(SearchRow).values(notice_at=now, notice_tries=0))
    notices.told(first)
    second = notices.claim()
    assert second is not None
    assert second.search_id == search_id


def test_what_is_old_is_no_news(database: Database) -> None:
    ended(database)
    with database.write() as connection:
        old = datetime.now(UTC) - timedelta(days=2)
        connection.execute(update(SearchRow).values(notice_at=old))
    assert not Notifier(database, [Recorder()]).turn()


def test_a_search_of_a_command_line_is_not_the_services_to_tell(database: Database) -> None:
    repository = Repository(database)
    record = repository.create_search(a_spec(), PROVENANCE)
    repository.release(repository.acquire(record.id, ELSEWHERE), "complete")
    with database.read() as connection:
        assert connection.scalar(select(SearchRow.notice_at)) is None


# Channels


@contextmanager
def web(status: int = 200) -> Iterator[tuple[str, list[Any]]]:
    """A web server, its address, and what it was sent."""
    got: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *arguments: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/secret", got
    finally:
        server.shutdown()
        server.server_close()


def test_a_webhook_gets_json(database: Database) -> None:
    told = what_ended(Repository(database), ended(database, "Zürich ☃"))
    with web() as (url, got):
        Webhook(url).tell(told)
    assert got == [told]
    assert got[0]["text"] == "search Zürich ☃ (id 1) is complete"


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_webhook_that_refuses_is_told_without_its_secret(status: int) -> None:
    with web(status) as (url, _), pytest.raises(NotTold, match=f"answered {status}") as caught:
        Webhook(url).tell({"text": "x"})
    assert "secret" not in str(caught.value)


def test_a_webhook_where_nobody_listens_is_told_without_its_secret() -> None:
    with pytest.raises(NotTold, match=r"127\.0\.0\.1 failed") as caught:
        Webhook("http://127.0.0.1:9/secret").tell({"text": "x"})
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(caught.value.__cause__)


def test_a_webhook_that_drips_its_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hpsearch.service.channels.ANSWER_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection = listener.accept()[0]
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                for _ in range(40):
                    connection.sendall(b"X-A: b\r\n")
                    time.sleep(0.1)

        threading.Thread(target=drip, daemon=True).start()
        began_s = time.monotonic()
        with pytest.raises(NotTold, match=r"failed \(no answer within 0\.5 s\)"):
            Webhook(f"http://127.0.0.1:{listener.getsockname()[1]}/secret").tell({"text": "x"})
    assert time.monotonic() - began_s < 2


def test_a_command_gets_it_on_stdin_and_in_its_environment(tmp_path: Path) -> None:
    script = tmp_path / "a script.py"
    script.write_text(
        "import json, os, pathlib, sys\n"
        "said = [json.load(sys.stdin), os.environ['HPSEARCH_SEARCH_STATE'], sys.argv[1:]]\n"
        "pathlib.Path(__file__).with_name('said').write_text(json.dumps(said))\n"
    )
    told = {"id": 3, "name": "$(touch x); `rm y`", "state": "failed", "text": "…"}
    Command.of(f"'{sys.executable}' '{script}' '$HOME' '; echo'").tell(told)
    said = json.loads((tmp_path / "said").read_text())
    assert said == [told, "failed", ["$HOME", "; echo"]], "no shell has read it"


def test_a_command_that_fails_is_told_with_its_last_line() -> None:
    told = {"id": 3, "name": "n", "state": "failed", "text": ""}
    with pytest.raises(NotTold, match="ended with 3: no mail"):
        Command(
            (sys.executable, "-c", "import sys; sys.exit(print('no mail', file=sys.stderr) or 3)")
        ).tell(told)


def test_a_command_that_leaves_something_running_has_been_told() -> None:
    told = {"id": 3, "name": "a\0b", "state": "failed", "text": ""}
    Command(("sh", "-c", "sleep 20 & exit 0")).tell(told)  # what it left is not waited for


def test_a_command_that_does_not_end_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpsearch.service.channels.COMMAND_S", 1.0)
    told = {"id": 3, "name": "n", "state": "failed", "text": ""}
    pid = tmp_path / "pid"
    with pytest.raises(NotTold, match="sh failed"):
        Command(("sh", "-c", f"sleep 60 & echo $! > '{pid}'; wait")).tell(told)
    deadline_s = time.monotonic() + 10
    while _lives(int(pid.read_text())):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_what_one_channel_was_told_is_not_told_it_again_for_the_other(database: Database) -> None:
    ended(database)
    sound, broken = Recorder(), Recorder(failures=1)
    notifier = Notifier(database, [sound, broken])
    assert notifier.turn()
    make_due(database)
    assert notifier.turn()
    assert (len(sound.told), len(broken.told)) == (1, 1)


def test_what_was_told_of_one_end_is_not_taken_for_the_next_end(database: Database) -> None:
    ended(database)
    changing, broken = Recorder(), Recorder(failures=3)
    notifier = Notifier(database, [changing, broken])
    assert notifier.turn()
    with database.write() as connection:  # it goes on, and ends once more
        now = datetime.now(UTC) - timedelta(seconds=1)
        connection.execute(update(SearchRow).values(notice_at=now, notice_tries=0))
    changing.failures = 1
    assert notifier.turn()
    make_due(database)
    assert notifier.turn()
    assert len(changing.told) == 2


def test_a_webhook_is_shown_nowhere() -> None:
    assert "secret" not in repr(Webhook("https://host/secret"))


@pytest.mark.parametrize(
    ("webhook", "on_end", "said"),
    [
        ("ftp://x/y", None, "must be a URL as in https"),
        ("https://", None, "must be a URL"),
        ("http://[::1", None, "must be a URL"),
        ("http://host:0/x", None, "a port of 1 to 65535"),
        ("http://host:65536/x", None, "a port of 1 to 65535"),
        ("http://host:x/", None, "must be a URL"),
        ("http://a host/", None, "must be a URL"),
        ("http://.host/", None, "must be a URL"),
        ("http://a..b/", None, "must be a URL"),
        (f"http://{'a' * 64}.com/", None, "must be a URL"),
        ("http://*/", None, "must be a URL"),
        (None, "no-such-program x", "a program that is there"),
        (None, "echo 'open", "must be a command"),
    ],
)
def test_what_cannot_be_a_channel_is_refused(
    webhook: str | None, on_end: str | None, said: str
) -> None:
    with pytest.raises(HpsearchError, match=said):
        channels(webhook, on_end)


def test_a_notice_that_does_not_arrive_at_once_is_only_said(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpsearch.service.notifying.AT_ONCE_S", 0.0)
    search_id, repository, warned = ended(database), Repository(database), list[str]()
    soon = Recorder(failures=2)
    tell_now(repository, search_id, [soon, Recorder(failures=3)], warned.append)
    assert [told["id"] for told in soon.told] == [search_id]
    assert warned == ["not told: nobody there"]


def test_run_tells_at_its_end(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], sqlite_url: str
) -> None:
    spec = tmp_path / "s.yaml"
    spec.write_text(
        "name: told\ndata: {source: digits}\ntrain: {hidden_units: [4]}\n"
        "space: {learning_rate: {log_uniform: [1e-3, 1e-1]}}\n"
        "stages: [{name: only, trials: 2, epochs: 1, expand: 0}]\n"
    )
    with web() as (url, got):
        given = ["run", str(spec), "--ray", "none", "--webhook", url, "--db", sqlite_url]
        assert say(capfd, *given)[0] == 0
        assert say(capfd, *given)[0] == 0, "it is complete already: no news"
    assert [told["text"].split(";")[0] for told in got] == ["search told (id 1) is complete"]
    assert got[0]["trials"] == {"complete": 2}
    told = {"number", "value", "mean", "n", "confirmed", "learning_rate"}
    assert set(got[0]["best"]) == told
