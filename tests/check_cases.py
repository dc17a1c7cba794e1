"""One probe of a small network, as the tests of the checks look at it."""

from __future__ import annotations

from training_cases import config, device_data

from workers.config import TrainConfig
from workers.messages import CheckPlan, CheckpointSlice, CheckResult, Probe
from workers.training.checks import CHECKS
from workers.training.checks.subject import Subject
from workers.training.feed import DeviceData

RATES = (1e-3, 1.0)


def a_plan(
    *configs: TrainConfig,
    rates: tuple[float, float] | None = RATES,
    warm_start: CheckpointSlice | None = None,
) -> CheckPlan:
    """A probe for each configuration: p0, p1, …"""
    probes = tuple(
        Probe(label=f"p{i}", config=c, rates=rates, warm_start=warm_start)
        for i, c in enumerate(configs)
    )
    return CheckPlan(probes=probes, seed=0, order_seed=1, width=4, stages=(("coarse", 3),))


def a_subject(data: DeviceData | None = None, **fields: object) -> Subject:
    """The probe of ``config(**fields)``; ``rates`` and ``start`` are the probe's own."""
    rates, start = fields.pop("rates", RATES), fields.pop("start", None)
    plan = a_plan(config(**fields), rates=rates, warm_start=start)  # type: ignore[arg-type]
    return Subject(probe=plan.probes[0], plan=plan, data=data or device_data())


def look(name: str, data: DeviceData | None = None, **fields: object) -> CheckResult:
    """What the check ``name`` finds of ``a_subject``."""
    return CHECKS[name].look(a_subject(data, **fields))
