"""Addresses of clusters: which can be, and whether somebody listens there."""

from __future__ import annotations

import socket

import pytest

from hpsearch.errors import HpsearchError
from hpsearch.service.addresses import check_address, probe
from hpsearch.service.jobs import ClusterAway, RayJobs


@pytest.mark.parametrize(
    "address",
    [
        "auto",
        "head:6379",
        "10.0.0.1:6379",
        "[::1]:6379",
        "http://head:8265",
        "https://dashboards.example.org/ours",
        "ray://head:10001",
    ],
)
def test_an_address_that_can_be_is_taken(address: str) -> None:
    check_address(address)


@pytest.mark.parametrize("address", ["ray://head", "head", "head:0", "head:٦٣٧٩", "ftp://head:21"])
def test_one_that_cannot_be_is_refused(address: str) -> None:
    with pytest.raises(HpsearchError, match="must be the HOST:PORT of a Ray cluster"):
        check_address(address)


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "http://127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_a_probe_finds_who_listens(form: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = form.format(server.getsockname()[1])
        probe(address)
    with pytest.raises(OSError, match="refused"):
        probe(address)


def test_a_server_may_wait_for_a_cluster_that_does_not_listen_yet() -> None:
    with pytest.raises(ClusterAway, match=r"127\.0\.0\.1:9 does not answer .*refused"):
        RayJobs("127.0.0.1:9", {}).capacity()
    with pytest.raises(HpsearchError, match="must be the HOST:PORT") as refusal:
        RayJobs("foo bar", {}).capacity()
    assert not isinstance(refusal.value, ClusterAway)
