"""Checks before a GPU is spent: each looks at a probe, and says what it saw with a verdict.

``check`` is called by the executors; a new check is one function and one line in ``CHECKS``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, fields

from workers.config import TrainConfig
from workers.config.combination import ConfigError, check_combination
from workers.config.learning import LossFields, RegularizationFields
from workers.config.model import ModelFields, StartFields
from workers.config.pace import PaceFields
from workers.messages import CheckPlan, CheckResult, Verdict
from workers.training.checks.cost import cost
from workers.training.checks.decay import decay, edge
from workers.training.checks.fit_twenty import fit_twenty
from workers.training.checks.gradients import gradients
from workers.training.checks.initial import initial_loss
from workers.training.checks.inputs import inputs, targets
from workers.training.checks.pace import pace
from workers.training.checks.rate_range import rate_range
from workers.training.checks.regularization import regularized_loss
from workers.training.checks.signals import signal
from workers.training.checks.subject import Network, Subject
from workers.training.feed import DeviceData
from workers.training.models import build_model
from workers.training.optimizers import VARIANTS, variant
from workers.training.parallel import ONE, Mesh
from workers.training.parallel.limits import check_parts
from workers.training.precision import check_precision, matrix_products

__all__ = ["CHECKS", "check"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """``look`` at a probe; ``depends_on`` gives what is equal for probes that need one look.

    ``from_start``: it says something only of the weights that training starts from.
    """

    look: Callable[[Subject], CheckResult]
    depends_on: Callable[[TrainConfig], Hashable]
    from_start: bool = False


def _network(config: TrainConfig) -> Hashable:
    return _values(config, ModelFields, StartFields, LossFields)


def _penalty(config: TrainConfig) -> Hashable:
    own_rule = config.optimizer if VARIANTS[variant(config)].decoupled else None
    return _network(config), _values(config, RegularizationFields), own_rule


def _decay(config: TrainConfig) -> Hashable:
    return config if config.weight_decay and edge(config) is not None else edge(config)


def _pace(config: TrainConfig) -> Hashable:
    everything = config.optimizer == "gradient_descent"  # a minibatch has all examples
    return _values(config, PaceFields), config.ema_decay, everything


def _everything(config: TrainConfig) -> Hashable:
    return config


def _nothing(config: TrainConfig) -> Hashable:
    return None


def _values(config: TrainConfig, *sections: type) -> Hashable:
    return tuple(getattr(config, f.name) for section in sections for f in fields(section))


CHECKS: dict[str, Check] = {
    "inputs": Check(look=inputs, depends_on=_nothing),
    "targets": Check(look=targets, depends_on=_nothing),
    "initial_loss": Check(look=initial_loss, depends_on=_network, from_start=True),
    "regularized_loss": Check(look=regularized_loss, depends_on=_penalty, from_start=True),
    "decay": Check(look=decay, depends_on=_decay),
    "pace": Check(look=pace, depends_on=_pace),
    "gradients": Check(look=gradients, depends_on=_network),
    "signal": Check(look=signal, depends_on=_network, from_start=True),
    "fit_twenty": Check(look=fit_twenty, depends_on=_everything, from_start=True),
    "rate_range": Check(look=rate_range, depends_on=_everything, from_start=True),
    "cost": Check(look=cost, depends_on=_everything),
}


def check(plan: CheckPlan, data: DeviceData, mesh: Mesh = ONE) -> Iterator[CheckResult]:
    """All checks of all probes, as they are made; what concerns equal networks is made once.

    They are made on one device, whatever ``mesh`` a trial is to have. Every check is a pure
    function of ``plan`` and ``data``, but for the seconds of ``cost``.
    """
    seen: set[Hashable] = set()
    for probe in plan.probes:
        subject = Subject(probe=probe, plan=plan, data=data)
        refusal = _refusal(subject, mesh)
        if refusal is not None:
            yield refusal
            continue
        for name, one in CHECKS.items():
            place = name, one.depends_on(probe.config)
            if place not in seen:
                seen.add(place)
                with matrix_products(probe.config.precision):
                    yield _look(name, one, subject)


def _look(name: str, one: Check, subject: Subject) -> CheckResult:
    if one.from_start and not subject.has_start:
        text = f"starts from {subject.config.warm_start}, whose weights were not found: name the "
        return subject.result(name, "skip", f"{text}database that has them (--db)")
    try:
        return one.look(subject)
    except RuntimeError as error:
        return _broken(name, subject, error)


def _broken(name: str, subject: Subject, error: RuntimeError) -> CheckResult:
    """What PyTorch says of a network that it cannot hold, or cannot compute: others may be fine."""
    said = str(error).strip().partition("\n")[0]
    return subject.result(name, "fail", f"PyTorch cannot do it ({said}): such trials fail")


def _refusal(subject: Subject, mesh: Mesh) -> CheckResult | None:
    """What makes a trial with this configuration fail at once.

    A combination that is refused warns: others of the branch may be fine, as the spec was admitted.
    A warm start fails, and a network that several devices cannot train: nobody looked before.
    """
    config, data = subject.config, subject.data
    try:
        check_precision(config.precision, data.device)
        check_combination(config, data.shape)
    except ConfigError as error:
        verdict: Verdict = "fail" if error.key == "precision" else "warn"
        return subject.result("configuration", verdict, f"{error.key} {error}: such trials fail")
    try:
        if mesh.whole.num > 1:
            check_parts(config, build_model(config, data.shape), data, mesh)
    except ConfigError as error:
        return subject.result("configuration", "fail", f"{error.key} {error}: such trials fail")
    try:
        refused = Network(subject, subject.config, subject.seeds(1)).refused
    except ConfigError as error:  # of what the user has written
        text = f"{error.key} {error}: such trials fail"
        return subject.result("configuration", "fail", text)
    except RuntimeError as error:
        return _broken("configuration", subject, error)
    if refused:
        return subject.result("configuration", "fail", f"{refused[0].message}: such trials fail")
    return None
