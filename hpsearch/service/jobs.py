"""Jobs: the processes that carry searches out, one each, as jobs of a Ray cluster.

Used by ``server.Server``, through a protocol, so that it is tested without a cluster too. The
process that submits is no driver of the cluster: it outlives it.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol
from uuid import uuid4

from ray.job_submission import JobStatus, JobSubmissionClient
from ray.util.state import list_nodes

from hpsearch.errors import HpsearchError
from hpsearch.executors.carried import carried
from hpsearch.service.addresses import check_address, probe
from hpsearch.settings import IMPORTS_VARIABLE
from hpsearch.storage.leases import Lease
from hpsearch.storage.queue import Claim, Running

MOST_NODES = 10_000


class ClusterAway(HpsearchError):
    """The cluster does not answer now; it may later."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """What a cluster has for workers."""

    num_cpus: int
    num_gpus: int


class Jobs(Protocol):
    """All methods raise ClusterAway while nothing is known."""

    def submit(self, claim: Claim) -> str:
        """Begin to carry out a claimed search; what to call the job."""
        ...

    def why_ended(self, job: str) -> str | None:
        """Why it is not running any more, in words; None while it is."""
        ...

    def stop(self, job: str) -> None:
        """Ask its process to end, and kill it if it has not within seconds."""
        ...

    def capacity(self) -> Capacity:
        """What the cluster has now, busy or not."""
        ...


def dashboard_address(address: str) -> str:
    """Where a browser finds the dashboard of the cluster at ``address``.

    Raises ClusterAway if it does not answer.
    """
    prefer(address)
    with _reaching(address) as client:
        return client.get_address()


def prefer(address: str) -> None:
    """Have Ray use ``address``, and not that of RAY_ADDRESS, which it lets go before any other."""
    if "RAY_ADDRESS" in os.environ:
        os.environ["RAY_ADDRESS"] = address


def job_name(lease: Lease) -> str:
    """What to call the job that is to take a search over from ``lease``.

    Another database on the same cluster may have a search of that id and token.
    """
    return f"{_beginning(lease.search_id, lease.token)}{uuid4().hex[:8]}"


def is_starting(search: Running) -> bool:
    """Whether the search has a job that has not taken it over: its token is still that one."""
    return search.job is not None and search.job.startswith(_beginning(search.id, search.token))


def _beginning(search_id: int, token: int) -> str:
    return f"hpsearch-{search_id}-{token}-"


class RayJobs:
    """Jobs of the cluster whose dashboard is at ``address``, as in http://127.0.0.1:8265."""

    def __init__(self, address: str, environment: Mapping[str, str]) -> None:
        """``environment`` is shown in the dashboard: there must be no secret in it."""
        self._address, self._environment = address, dict(environment)
        prefer(address)

    def submit(self, claim: Claim) -> str:
        lease, job = claim.lease, job_name(claim.lease)
        command = [sys.executable, "-m", "hpsearch", "carry-out"]
        entrypoint = shlex.join([*command, str(lease.search_id), str(lease.token)])
        with carried(self._allowed(claim)) as code, _reaching(self._address) as client:
            client.submit_job(
                entrypoint=entrypoint,
                submission_id=job,
                runtime_env={"env_vars": self._environment, **code},
                metadata={"job_name": claim.name, "search": str(lease.search_id)},
            )
        return job

    def _allowed(self, claim: Claim) -> bytes | None:
        """The code that travels with the search; none unless the operator has it imported."""
        return claim.code if self._environment.get(IMPORTS_VARIABLE) == "1" else None

    def why_ended(self, job: str) -> str | None:
        with _reaching(self._address) as client:
            try:
                info = client.get_job_info(job)
            except RuntimeError as error:
                if "does not exist" not in str(error):
                    raise
                return "the cluster knows nothing of its job"
        if not JobStatus(info.status).is_terminal():
            return None
        return f"its job {info.status.lower()}: {_last_line(info.message)}"

    def stop(self, job: str) -> None:
        with _reaching(self._address) as client:
            client.stop_job(job)

    def capacity(self) -> Capacity:
        with _reaching(self._address):
            nodes = list_nodes(self._address, limit=MOST_NODES)
        alive = [node.resources_total for node in nodes if node.state == "ALIVE"]
        return Capacity(
            num_cpus=int(sum(resources.get("CPU", 0) for resources in alive)),
            num_gpus=int(sum(resources.get("GPU", 0) for resources in alive)),
        )


@contextmanager
def _reaching(address: str) -> Iterator[JobSubmissionClient]:
    """A client of the cluster; what it raises, and who uses it, becomes ClusterAway.

    Raises HpsearchError for an address that cannot be.
    """
    check_address(address)
    try:
        probe(address)
        yield JobSubmissionClient(address)
    except Exception as error:  # whatever HTTP, and Ray's reading of it, can raise
        reason = _last_line(str(error))
        raise ClusterAway(
            f"the Ray cluster at {address} does not answer ({reason}): see that its head runs, and "
            "that this process has its token"
        ) from error


def _last_line(message: str | None) -> str:
    lines = (message or "").strip().splitlines()
    return lines[-1] if lines else "nothing is known of why"
