"""What docker-compose.yml says is what runs here: a search is submitted, carried out, read back."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import psycopg
import pytest
from compose_locally import Composed

PATIENCE_S = 480.0
SECRETS = {
    "database_password": "p4ss:w/rd-of-the-database",
    "ray_token": "0123456789abcdef" * 4,
    "grafana_password": "not-used-here",
}


@pytest.fixture(scope="module")
def composed() -> Iterator[Composed]:
    found = Composed(SECRETS)
    try:
        found.up("worker-cpu")
        found.up("coordinator")
        yield found
    finally:
        found.down()


@pytest.fixture(scope="module")
def complete(composed: Composed) -> int:
    """The id of a search that was submitted and is complete."""
    search_id = _submit(composed, fine_epochs=10)
    _await_state(composed, search_id, "complete")
    return search_id


@pytest.fixture(scope="module")
def metrics(composed: Composed, complete: int) -> set[str]:
    """What Prometheus reads of a search while it runs; it is cancelled then."""
    search_id = _submit(composed, fine_epochs=100_000)
    line = rf'^(ray_hpsearch_\w+){{.*search="digits \(search {search_id}\)"'
    end_s, found = time.monotonic() + PATIENCE_S, set[str]()
    while not {"ray_hpsearch_best_value", "ray_hpsearch_device_memory_bytes"} <= found:
        assert time.monotonic() < end_s, composed.logs()
        time.sleep(2)  # Ray gathers them every 10 s
        for ports in composed.node_ports.values():
            with urlopen(f"http://127.0.0.1:{ports['8080']}/metrics", timeout=60) as answer:
                found |= {*re.findall(line, answer.read().decode(), flags=re.MULTILINE)}
    composed.run("cancel", str(search_id))
    _await_state(composed, search_id, "cancelled")
    return found


def _submit(composed: Composed, fine_epochs: int) -> int:
    changes = ["coarse.trials=12", "fine.trials=8", "fine.continue=2", "confirm.top=1"]
    changes.append(f"fine.epochs={fine_epochs}")
    arguments = [word for change in changes for word in ("--set", f"stages.{change}")]
    return int(composed.run("submit", "digits", *arguments))


def _await_state(composed: Composed, search_id: int, state: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while (now := _state(composed, search_id)) != state:
        assert now != "failed", composed.logs()
        assert time.monotonic() < end_s, composed.logs()
        time.sleep(2)


def _state(composed: Composed, search_id: int) -> str:
    searches = json.loads(composed.run("list", "--format", "json"))
    return next(str(search["state"]) for search in searches if search["search"] == search_id)


def test_a_submitted_search_is_carried_out_and_read_back(composed: Composed, complete: int) -> None:
    (best,) = json.loads(composed.run("best", str(complete), "-n", "1", "--format", "json"))
    assert best["value"] > 0.9
    assert any((composed.folder / "volumes" / "checkpoints").iterdir())


def test_its_metrics_are_there_for_prometheus(metrics: set[str]) -> None:
    names = "trials", "trial_epochs_total", "best_value", "group_width", "database_seconds"
    assert {f"ray_hpsearch_{name}" for name in (*names, "device_memory_bytes")} <= metrics


def test_every_service_is_well(composed: Composed, complete: int) -> None:
    for name in ("database", "head", "worker-cpu", "coordinator"):
        assert composed.is_well(name), name


def test_the_head_itself_does_no_work(composed: Composed, complete: int) -> None:
    doctor = composed.run("doctor", "--ray", f"127.0.0.1:{composed.ports['6379']}", service="head")
    assert "MEND" not in doctor
    assert "reached with a token" in doctor
    assert "nodes: 2 with the same versions" in doctor


def test_ray_writes_its_dashboards_where_grafana_looks(composed: Composed, complete: int) -> None:
    written = composed.folder / "volumes" / "dashboards" / "default_grafana_dashboard.json"
    assert json.loads(written.read_text())["uid"] == "rayDefaultDashboard"


def test_who_has_no_token_is_refused(composed: Composed) -> None:
    url = f"http://127.0.0.1:{composed.ports['8265']}/api/jobs/"
    with pytest.raises(HTTPError) as refused:
        urlopen(url, timeout=10)
    assert refused.value.code in (401, 403)
    refused.value.close()
    wrong = Request(url, headers={"Authorization": f"Bearer {'f' * 64}"})
    with pytest.raises(HTTPError) as refused:
        urlopen(wrong, timeout=10)
    assert refused.value.code in (401, 403)
    refused.value.close()
    right = Request(url, headers={"Authorization": f"Bearer {SECRETS['ray_token']}"})
    with urlopen(right, timeout=10) as answer:
        assert answer.status == 200


def test_who_has_no_password_is_refused(composed: Composed) -> None:
    server = f"host=127.0.0.1 port={composed.ports['5432']} user=hpsearch dbname=hpsearch"
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(server, passfile="none")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server, password="wrong")


def test_no_secret_is_in_any_log_or_told_of_any_job(composed: Composed, complete: int) -> None:
    url = f"http://127.0.0.1:{composed.ports['8265']}/api/jobs/"
    asked = Request(url, headers={"Authorization": f"Bearer {SECRETS['ray_token']}"})
    with urlopen(asked, timeout=10) as answer:
        jobs = answer.read().decode()
    assert "postgresql+psycopg://hpsearch@127.0.0.1" in jobs
    told = {"jobs": jobs, **composed.logs()}
    assert any("job-driver" in name for name in told), "the search's own log must be among them"
    hidden = [SECRETS["database_password"], quote(SECRETS["database_password"], safe="")]
    for name, text in told.items():
        assert not any(secret in text for secret in [*hidden, SECRETS["ray_token"]]), name
