"""one_gpu.sh: Docker gives every worker all GPUs of the machine; each takes one of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SAYS_ITS_OWN = 'echo "$CUDA_VISIBLE_DEVICES"; read line'  # and keeps it until it is told


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A machine with two GPUs."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 0\necho 1\n")
    tool.chmod(0o755)
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}", "LOCKS": str(tmp_path)}


def worker(environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [str(ROOT / "deploy" / "one_gpu.sh"), "sh", "-c", SAYS_ITS_OWN]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )


def told(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_each_worker_has_a_gpu_of_its_own(environment: dict[str, str]) -> None:
    first, second = worker(environment), worker(environment)
    assert {told(first), told(second)} == {"0", "1"}
    third = worker(environment)
    assert "must have a GPU of its own" in third.communicate(timeout=10)[1]
    assert third.returncode == 1
    first.kill()  # however it ends, its GPU is free again
    first.wait()
    fourth = worker(environment)
    assert told(fourth) in ("0", "1")
    for process in (second, fourth):
        process.kill()
        process.wait()


def test_a_machine_without_the_driver_is_told(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho no driver >&2\nexit 9\n")
    process = worker(environment)
    assert process.communicate(timeout=10)[1] == "no driver\n"
    assert process.returncode == 9
