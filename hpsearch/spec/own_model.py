"""The ``model:`` of a spec: a user's own network, MODULE:NAME, whose arguments are parameters.

Called by ``hpsearch.spec.training``. It imports the user's module, and with it most likely torch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from hpsearch.spec.problem import Problems, shown
from hpsearch.spec.rules import EPOCHS, PythonName, Rule
from workers.config import DOMAINS
from workers.config.domain import Domain
from workers.config.own import LEFT_TO_MODELS, OwnError, arguments

MODEL: Rule = PythonName("a class or function that returns a torch.nn.Module")
ANYTHING = Domain(anything=True, optional=True)


class AnyName(dict[str, Domain]):
    """A table of keys in which every name is; those that were put into it have their own rules."""

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str)

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name, ANYTHING)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelKeys:
    """What may stand under ``train`` and ``space``: fields, and arguments of a user's model."""

    name: str | None = None
    required: Collection[str] = ()
    domains: Mapping[str, Domain] = field(default_factory=lambda: DOMAINS)

    def rules(self, section: Mapping[Any, Any]) -> dict[str, Rule]:
        """What may stand under ``train``, where ``section`` does."""
        # How long a training lasts is said there or with a stage; it is no field of TrainConfig.
        there = {name: self.domains.get(name, ANYTHING) for name in section if name in self.domains}
        return {**self.domains, **there, "epochs": EPOCHS}

    def check_given(self, given: Collection[str], problems: Problems) -> None:
        """Each argument without a default must be fixed or searched."""
        for missing in sorted(set(self.required) - set(given)):
            rule = f"needs its argument {missing}; fix it under train, or search it under space"
            problems.add("model", rule, shown(self.name))


def read_model(name: str | None, problems: Problems) -> ModelKeys:
    """The keys that go with the model ``name``, None for one of ours.

    Of a model that cannot be had nobody knows the arguments: all names are then admitted.
    """
    if name is None:
        return ModelKeys()
    try:
        own, required = arguments(name)
    except OwnError as error:
        problems.add("model", str(error))
        return ModelKeys(domains=AnyName(DOMAINS))
    ours = {key: domain for key, domain in DOMAINS.items() if key not in LEFT_TO_MODELS | {"model"}}
    for clash in sorted(own.keys() & {*ours, "model", "epochs"}):
        rule = f"has an argument {clash}, which is a field of the training too; rename it"
        problems.add("model", rule, shown(name))
    return ModelKeys(name=name, required=required, domains=ours | own)
