"""Provenance: with what a search was made, by whom and where.

Collected once by whoever creates a search; stored in its row by ``hpsearch.storage.searches``.
"""

from __future__ import annotations

import getpass
import os
import platform
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata

PACKAGES = (
    "cmaes",
    "numpy",
    "optuna",
    "pandas",
    "pydantic",
    "ray",
    "safetensors",
    "scikit-learn",
    "scipy",
    "sqlalchemy",
    "torch",
)
UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """``git_commit`` is that of the working folder; ``packages`` has the versions by name."""

    hpsearch_version: str
    git_commit: str | None
    host: str
    user: str
    packages: Mapping[str, str]

    @classmethod
    def collect(cls) -> Provenance:
        """What is so in this process; imports none of the packages."""
        versions = {name: _version(name) for name in PACKAGES}
        return cls(
            hpsearch_version=_version("hpsearch"),
            git_commit=_git_commit(),
            host=socket.gethostname(),
            user=_user(),
            packages={"python": platform.python_version(), **versions},
        )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return UNKNOWN


def _git_commit() -> str | None:
    command = ("git", "rev-parse", "--verify", "--quiet", "HEAD")
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):  # no git, or no repository
        return None
    return answer.stdout.strip()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user may have no name
        return str(os.getuid()) if hasattr(os, "getuid") else UNKNOWN
