"""docker-compose.yml is valid, and careful: no port is open, no root, no secret."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_file import FILE, ROOT, VARIABLE, command, dockerfile_steps, read_compose
from jsonschema import Draft202012Validator

from hpsearch.cli.service import serve

COMPOSE = read_compose()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name for name, service in SERVICES.items() if "build" in service}
TEXT = FILE.read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
every_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())


def _environment(name: str) -> dict[str, str]:
    return SERVICES[name].get("environment", {})


def test_it_is_valid_by_the_compose_specification() -> None:
    vendor = files("check_jsonschema").joinpath("builtin_schemas", "vendor", "compose-spec.json")
    validator = Draft202012Validator(json.loads(vendor.read_text()))
    assert [error.message for error in validator.iter_errors(COMPOSE)] == []
    broken = {**COMPOSE, "services": {"head": {"commnd": []}}}
    assert not validator.is_valid(broken)


def test_all_that_it_needs_is_there() -> None:
    assert SERVICES.keys() == {
        *("database", "schema", "head", "worker", "worker-cpu", "coordinator"),
        *("prometheus", "grafana"),
    }
    assert SERVICES["worker"]["profiles"] == ["gpu"]
    assert SERVICES["worker-cpu"]["profiles"] == ["cpu"]
    assert all("profiles" not in SERVICES[name] for name in SERVICES if "worker" not in name)


@every_service
def test_ports_are_open_to_this_machine_alone(service: dict[str, Any]) -> None:
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert "network_mode" not in service


@every_service
def test_no_container_may_gain_rights(service: dict[str, Any]) -> None:
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    user = service["user"] if "build" not in service else dockerfile_steps("USER")[-1]
    assert user not in ("root", "0")


@every_service
def test_every_image_has_its_version(service: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+[\w.-]*", service["image"])


def test_our_image_has_the_version_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {SERVICES[name]["image"] for name in OURS} == {f"hpsearch:{project['version']}"}


def test_every_service_that_stays_is_begun_again_and_looked_after() -> None:
    for name in SERVICES.keys() - {"schema"}:
        assert SERVICES[name]["restart"] == "unless-stopped"
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_secrets_are_files_that_git_and_the_image_leave_out(tmp_path: Path) -> None:
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
        ignored = ["git", "check-ignore", "--quiet", f"secrets/{name}"]
        assert subprocess.run(ignored, cwd=ROOT).returncode == 0
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"
    assert not re.search(r"(?i)(password|token)\w*: (?!/run/secrets/|token$|\[)\S", _values())
    used = {name for service in SERVICES.values() for name in service.get("secrets", [])}
    assert used == COMPOSE["secrets"].keys()


def _values() -> str:
    """All that containers find in their environments, a line each."""
    return "\n".join(f"{key}: {value}" for name in SERVICES for key, value in _variables(name))


def _variables(name: str) -> list[tuple[str, str]]:
    return [item for item in _environment(name).items() if item[0] != "HPSEARCH_DATABASE_URL"]


def test_the_url_of_the_database_has_no_password() -> None:
    assert re.findall(r"postgresql://\S+", TEXT) == ["postgresql://hpsearch@database:5432/hpsearch"]


@every_service
def test_who_reads_a_secret_has_it(service: dict[str, Any]) -> None:
    read = re.findall(r"/run/secrets/(\w+)", str(service.get("environment", {})))
    assert sorted(read) == sorted(service.get("secrets", []))


def test_every_part_of_ray_asks_for_the_token() -> None:
    for name in OURS - {"schema"}:
        assert _environment(name)["RAY_AUTH_MODE"] == "token"


def test_only_who_writes_to_the_database_has_its_password() -> None:
    having = {name for name in SERVICES if "database_password" in SERVICES[name].get("secrets", [])}
    assert having == {"database", "schema", "head", "coordinator"}


def test_nothing_is_told_outside_unless_asked_for() -> None:
    assert all(_environment(name)["RAY_USAGE_STATS_ENABLED"] == "0" for name in OURS - {"schema"})
    told = ("REPORTING_ENABLED", "CHECK_FOR_UPDATES", "CHECK_FOR_PLUGIN_UPDATES")
    assert {_environment("grafana")[f"GF_ANALYTICS_{name}"] for name in told} == {"false"}
    asked = read_compose({"RAY_USAGE_STATS_ENABLED": "1", "GRAFANA_REPORTING_ENABLED": "true"})
    assert asked["services"]["head"]["environment"]["RAY_USAGE_STATS_ENABLED"] == "1"
    grafana = asked["services"]["grafana"]["environment"]
    assert grafana["GF_ANALYTICS_REPORTING_ENABLED"] == "true"


def test_the_head_has_no_work_and_workers_share_its_checkpoints() -> None:
    assert "--num-cpus=0" in command(SERVICES["head"])
    folder = _environment("head")["HPSEARCH_CHECKPOINTS"]
    for name in ("head", "worker", "worker-cpu", "coordinator"):
        assert f"checkpoints:{folder}" in SERVICES[name]["volumes"]
        assert _environment(name)["HPSEARCH_CHECKPOINTS"] == folder


def test_both_kinds_of_workers_join_alike() -> None:
    gpu, cpu = SERVICES["worker"], SERVICES["worker-cpu"]
    assert command(gpu) == ["one_gpu", *command(cpu)]
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert "container_name" not in gpu, "it could not be scaled"
    assert "ports" not in gpu


def test_every_variable_is_in_the_example_with_its_default() -> None:
    defaults = {match["name"]: match["default"] for match in VARIABLE.finditer(TEXT)}
    assert dict(re.findall(r"^(\w+)=(.*)$", EXAMPLE, flags=re.MULTILINE)) == defaults


def test_the_coordinator_is_given_all_that_serve_reads_from_its_environment() -> None:
    options = [str(option.envvar) for option in serve.params if option.envvar]
    read = {name for name in options if name.startswith("HPSEARCH_")}
    assert read == {"HPSEARCH_WEBHOOK", "HPSEARCH_ON_END"}
    assert read <= _environment("coordinator").keys()


def test_the_commands_of_the_example_make_every_secret(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("the commands of .env.example need openssl")
    commands = re.findall(r"^#   (.+)$", EXAMPLE, flags=re.MULTILINE)
    subprocess.run(["sh", "-euc", "\n".join(commands)], cwd=tmp_path, check=True)
    made = {file.name: file.read_text().strip() for file in (tmp_path / "secrets").iterdir()}
    assert made.keys() == COMPOSE["secrets"].keys()
    assert all(re.fullmatch(r"[0-9a-f]{64}", secret) for secret in made.values())
    assert all(file.stat().st_mode & 0o004 for file in (tmp_path / "secrets").iterdir())


def test_every_folder_and_volume_that_is_mounted_is_there() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
            is_there = (ROOT / source).exists() or source == "./data"
            assert is_there if source.startswith(".") else source in COMPOSE["volumes"]


def test_prometheus_reads_all_nodes_of_ray() -> None:
    (job,) = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text())["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    for name in found["names"]:
        assert f"--metrics-export-port={found['port']}" in command(SERVICES[name])
    nodes = {name for name in OURS if command(SERVICES[name])[-1].startswith("--metrics")}
    assert nodes == {*found["names"]}


def test_promtool_accepts_what_prometheus_is_given() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool, which comes with Prometheus")
    said = ["promtool", "check", "config", str(ROOT / "deploy" / "prometheus.yml")]
    subprocess.run(said, check=True, capture_output=True)
