"""The checks before a search: which configurations are probed, and what is stored of the results.

Called by the loop for stage ``check``, and by ``hpsearch check``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from types import MappingProxyType

from hpsearch.coordinator.packing import group_size, rows_of, train_config
from hpsearch.coordinator.warm_starts import WarmStarts
from hpsearch.errors import HpsearchError
from hpsearch.executors.base import Executor
from hpsearch.spec.search import Search
from hpsearch.spec.space import Branch, Choice, Definition, Value
from hpsearch.storage.records import CHECK_KIND, NewDiagnosis
from workers.keys import key
from workers.messages import CheckPlan, CheckResult, Probe, Verdict

MOST_PROBES = 6
TALLIED: dict[Verdict, str] = {
    "pass": "passed",
    "warn": "to look at",
    "fail": "failed",
    "skip": "not applicable",
}
NONE_FOUND: WarmStarts = MappingProxyType({})


class ChecksFailed(HpsearchError):
    """A check of a search failed, so that it does not start."""

    def __init__(self, search: str, failed: Sequence[CheckResult]) -> None:
        self.failed = tuple(failed)
        names = ", ".join(_names(failed))
        first = failed[0]
        probe = f" of {first.probe}" if first.probe else ""
        super().__init__(
            f"search {search} must pass its checks, but failed {names} ({first.name}{probe}: "
            f"{first.text}): `hpsearch check` shows all; mend it, or go on with --force"
        )


def checked(
    executor: Executor, search: Search, num_slots: int, warm_starts: WarmStarts = NONE_FOUND
) -> list[CheckResult]:
    """What the checks of ``search`` find on ``executor``, and which branches they leave out.

    The search's groups are packed for ``num_slots`` workers.
    ``warm_starts`` are the checkpoints that were found of those that the search names.
    """
    found = executor.check(check_plan(search, num_slots, warm_starts))
    branches = search.space.branches()
    out = [branch.key for branch in branches[MOST_PROBES:]]
    if out:
        text = f"{MOST_PROBES} of {len(branches)} branches are checked; not: {', '.join(out)}"
        found = [
            *found,
            CheckResult(
                name="branches", probe=None, verdict="skip", text=text, evidence={"left_out": out}
            ),
        ]
    return found


def check_plan(search: Search, num_slots: int, warm_starts: WarmStarts = NONE_FOUND) -> CheckPlan:
    """A probe for each of the first branches, in groups as wide as the search's widest will be."""
    num_trials = max(stage.trials for stage in search.stages)
    width = group_size(
        num_trials,
        num_slots=num_slots,
        rows=rows_of(search.resources.width),
        rows_per_trial=search.data.rows_per_trial,
    )
    branches = search.space.branches()[:MOST_PROBES]
    return CheckPlan(
        probes=tuple(probe(search, branch, warm_starts) for branch in branches),
        seed=key(search.seed, "check"),
        order_seed=key(search.seed, "order", 0),
        width=width,
        stages=tuple((stage.name, stage.epochs) for stage in search.stages if stage.epochs),
    )


def probe(search: Search, branch: Branch, warm_starts: WarmStarts = NONE_FOUND) -> Probe:
    """The middle of the branch: of a range on its own scale, of a choice the first."""
    middle = {name: _middle(definition) for name, definition in branch.parameters.items()}
    rate = branch.parameters.get("learning_rate")
    rates = None if rate is None or isinstance(rate, Choice) else (rate.low, rate.high)
    config = train_config(search.train, {**branch.fixed, **middle})
    found = None if config.warm_start is None else warm_starts.get(config.warm_start)
    decays = _ends(branch.parameters.get("weight_decay"))
    return Probe(label=branch.key, config=config, rates=rates, decays=decays, warm_start=found)


def _ends(definition: Definition | None) -> tuple[float, float] | None:
    """The least and the largest number of a range or a choice; None of what is fixed."""
    if definition is None:
        return None
    if isinstance(definition, Choice):
        return min(definition.choices), max(definition.choices)
    return definition.low, definition.high


def _middle(definition: Definition) -> Value:
    if isinstance(definition, Choice):
        return definition.choices[0]
    ends = definition.scale(definition.low), definition.scale(definition.high)
    middle = definition.unscale(sum(ends) / 2)
    if definition.base is not None:
        return definition.base ** round(math.log(middle, definition.base))
    return round(middle) if definition.is_int else middle


def failed(results: Iterable[CheckResult]) -> list[CheckResult]:
    """Those that a search does not start with."""
    return [result for result in results if result.verdict == "fail"]


def failure(failed: Sequence[CheckResult]) -> str:
    """The sentence below a table that has all else: 2 checks failed: signal, fit_twenty."""
    names = _names(failed)
    return f"{len(names)} check{'s' * (len(names) > 1)} failed: {', '.join(names)}"


def _names(results: Sequence[CheckResult]) -> list[str]:
    """Each check once, however many probes it looked at."""
    return list(dict.fromkeys(result.name for result in results))


def tally(results: Sequence[CheckResult]) -> str:
    """How many of each verdict: 12 passed, 1 to look at, 1 failed, 2 not applicable."""
    counts = Counter(result.verdict for result in results)
    return ", ".join(f"{counts[v]} {word}" for v, word in TALLIED.items() if counts[v])


def diagnoses(results: Iterable[CheckResult], stage_id: int) -> list[NewDiagnosis]:
    """The results as findings about stage ``check``."""
    return [
        NewDiagnosis(
            kind=f"{CHECK_KIND}{result.name}",
            message=f"{result.probe}: {result.text}" if result.probe else result.text,
            evidence={**result.evidence, "verdict": result.verdict, "probe": result.probe},
            stage_id=stage_id,
        )
        for result in results
    ]
