"""What a spec names in Python is imported by a service only where its operator allows that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpsearch.errors import HpsearchError
from hpsearch.service import jobs
from hpsearch.service.carrying import check_imports
from hpsearch.service.serving import environment
from hpsearch.spec import load
from hpsearch.spec.search import Search
from hpsearch.spec.space import Choice
from hpsearch.storage.leases import Lease, Owner
from hpsearch.storage.queue import Claim


@pytest.fixture
def search() -> Search:
    return load(
        {
            "name": "own",
            "model": "own_nets:Perceptron",
            "data": {"source": "own_data:arrays"},
            "space": {"width": {"int": [2, 9]}},
            "stages": [{"name": "only", "trials": 2, "epochs": 1}],
        }
    )


def test_python_objects_are_refused_in_a_sentence(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HPSEARCH_ALLOW_IMPORTS", raising=False)
    with pytest.raises(HpsearchError) as refused:
        check_imports(search)
    assert str(refused.value) == (
        "a spec for this service must name no Python objects, but search own names "
        "own_nets:Perceptron and own_data:arrays; its operator allows that by "
        "HPSEARCH_ALLOW_IMPORTS=1"
    )
    check_imports(load("digits"))
    space = search.space.model_copy(
        update={"parameters": {"model": Choice(choices=("mlp", "os:system"), when=None)}}
    )
    slipped = load("digits").model_copy(update={"space": space})
    with pytest.raises(HpsearchError, match="names os:system"):
        check_imports(slipped)


def test_an_operator_allows_them_where_the_server_runs(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HPSEARCH_ALLOW_IMPORTS", "1")
    check_imports(search)
    assert environment("postgresql://me@host/name")["HPSEARCH_ALLOW_IMPORTS"] == "1"


@pytest.mark.parametrize("consent", ["1", "0", None])
def test_code_is_sent_to_the_cluster_with_the_operators_consent_alone(
    consent: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []

    class Client:
        def __init__(self, address: str) -> None:
            pass

        def submit_job(self, *, runtime_env: dict[str, Any], **others: object) -> None:
            package = runtime_env.get("working_dir")
            sent.append({"code": package and Path(package).read_bytes()})

    monkeypatch.setattr(jobs, "JobSubmissionClient", Client)
    monkeypatch.setattr(jobs, "probe", lambda address: None)
    environment = {} if consent is None else {"HPSEARCH_ALLOW_IMPORTS": consent}
    lease = Lease(search_id=1, token=1, owner=Owner.current())
    claim = Claim(name="own", lease=lease, in_vain=0, code=b"a package")
    jobs.RayJobs("http://127.0.0.1:1", environment).submit(claim)
    assert sent == [{"code": b"a package" if consent == "1" else None}]


def test_a_loss_and_metrics_are_python_objects_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HPSEARCH_ALLOW_IMPORTS", raising=False)
    spec = {
        "name": "own",
        "data": {"source": "digits"},
        "space": {"learning_rate": {"log_uniform": [0.1, 1]}},
        "stages": [{"name": "only", "trials": 2, "epochs": 1}],
    }
    with pytest.raises(HpsearchError, match="search own names own_losses:focal; its operator"):
        check_imports(load({**spec, "loss": "own_losses:focal"}))
    with pytest.raises(HpsearchError, match="search own names own_losses:top2; its operator"):
        check_imports(load({**spec, "metrics": {"top2": "own_losses:top2"}}))
