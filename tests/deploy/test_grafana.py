"""What the Grafana dashboard and the docs name is what hpsearch measures, and nothing else."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboards/hpsearch.json").read_text())
METRIC = r"\bray_hpsearch_\w+"
KINDS = {"Counter": "_total", "Gauge": "", "Histogram": ""}  # what Prometheus sees after the name


def _made() -> set[str]:
    """The metrics that the code makes, as Prometheus sees them."""
    files = [*(ROOT / "hpsearch").rglob("*.py"), *(ROOT / "workers").rglob("*.py")]
    calls = [
        node
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args
    ]
    return {
        f"ray_{call.args[0].value}{KINDS[call.func.id]}"
        for call in calls
        if isinstance(call.func, ast.Name)
        and call.func.id in KINDS
        and isinstance(call.args[0], ast.Constant)
    }


def _queries() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    named = {name for query in _queries() for name in re.findall(METRIC, query)}
    assert named == _made()
    assert len(named) > 5


def test_the_docs_name_every_metric_and_no_other() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    assert {*re.findall(METRIC, page)} == _made()


def test_every_panel_is_of_the_chosen_searches_and_data_source() -> None:
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["search"]["query"]["query"] == "label_values(ray_hpsearch_trials, search)"
    assert all('{search=~"$search"}' in query for query in _queries())
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {"${datasource}"}
    assert all(panel["description"] for panel in DASHBOARD["panels"])


def test_panels_do_not_overlap() -> None:
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len({*cells}) == len(cells)


def test_what_grafana_is_provisioned_with_is_mounted_there() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    mounted = {_target(volume) for volume in compose["services"]["grafana"]["volumes"]}
    folder = ROOT / "deploy/grafana/provisioning"
    providers = yaml.safe_load((folder / "dashboards/dashboards.yml").read_text())["providers"]
    assert {provider["options"]["path"] for provider in providers} <= mounted
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"]
    assert source["url"] == compose["services"]["head"]["environment"]["RAY_PROMETHEUS_HOST"]
    assert source["name"] == "Prometheus"  # Ray's pages ask for it by this name


def _target(volume: Any) -> str:
    return str(volume["target"]) if isinstance(volume, dict) else str(volume).split(":")[1]
