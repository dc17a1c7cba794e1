"""docker-compose.yml as docker compose reads it: variables filled in, each service's command whole.

Used by the tests of the file, and by those that run what it says as processes of this machine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
FILE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "Dockerfile"
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}")


def read_compose(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The file with its variables replaced, each by its default unless it is given."""
    found: dict[str, Any] = _filled(yaml.safe_load(FILE.read_text()), variables or {})
    return found


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, variables) for item in value]
    if not isinstance(value, str):
        return value
    return VARIABLE.sub(lambda m: variables.get(m["name"]) or m["default"] or "", value)


def command(service: Mapping[str, Any]) -> list[str]:
    """What a container of our own image runs."""
    entrypoint = service.get("entrypoint") or dockerfile_steps("ENTRYPOINT")[0]
    return [*entrypoint, *service["command"]]


def dockerfile_steps(*instructions: str) -> list[Any]:
    """The arguments of these instructions in their order: a list where they are one in JSON."""
    steps = [argument for name, argument in dockerfile() if name in instructions]
    return [json.loads(step) if step.startswith("[") else step for step in steps]


def dockerfile() -> list[tuple[str, str]]:
    """All its instructions, each with its arguments as one line."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ")
    steps = [line.partition(" ") for line in whole.splitlines() if line.strip()]
    return [(name, " ".join(argument.split())) for name, _, argument in steps]
