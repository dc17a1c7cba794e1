"""What docker-compose.yml says is what runs here: a search is submitted, carried out, read back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import psycopg
import pytest
from compose_locally import Composed

PATIENCE_S = 240.0
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
def metrics(composed: Composed) -> str:
    """What Prometheus would have read of the head while a search ran; that is complete then."""
    composed.run("submit", "digits", "--set", "stages.fine.epochs=40")
    end_s, seen = time.monotonic() + PATIENCE_S, ""
    url = f"http://127.0.0.1:{composed.node_ports['head']['8080']}/metrics"
    while _state(composed) != "complete":
        assert time.monotonic() < end_s, composed.logs()
        now = urlopen(url, timeout=10).read().decode()
        seen = now if "ray_hpsearch_best_value" in now else seen
        time.sleep(3)
    return seen


def _state(composed: Composed) -> str:
    (search,) = json.loads(composed.run("list", "--format", "json"))
    assert search["state"] != "failed", search
    return str(search["state"])


def test_a_submitted_search_is_carried_out_and_read_back(composed: Composed, metrics: str) -> None:
    (best,) = json.loads(composed.run("best", "digits", "-n", "1", "--format", "json"))
    assert best["value"] > 0.9
    assert any((composed.folder / "volumes" / "checkpoints").iterdir())


def test_its_metrics_are_there_for_prometheus(metrics: str) -> None:
    for name in ("trials", "trial_epochs_total", "best_value", "group_width", "database_seconds"):
        assert f"\nray_hpsearch_{name}{{" in metrics, name
    assert 'search="digits (search 1)"' in metrics.replace("\\", "")


def test_every_service_is_well(composed: Composed, metrics: str) -> None:
    for name in ("database", "head", "worker-cpu", "coordinator"):
        assert composed.is_well(name), name


def test_the_head_itself_does_no_work(composed: Composed, metrics: str) -> None:
    doctor = composed.run("doctor", "--ray", f"127.0.0.1:{composed.ports['6379']}", service="head")
    assert "MEND" not in doctor
    assert "reached with a token" in doctor
    assert "nodes: 2 with the same versions" in doctor


def test_ray_writes_its_dashboards_where_grafana_looks(composed: Composed, metrics: str) -> None:
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


def test_no_secret_is_in_any_log_or_told_of_any_job(composed: Composed, metrics: str) -> None:
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
