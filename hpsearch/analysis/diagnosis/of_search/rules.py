"""The table of rules about a whole search, in the order in which a person should hear of them.

Called by ``hpsearch.analysis.diagnosis.searching``.
"""

from __future__ import annotations

from hpsearch.analysis.diagnosis.of_search.ending import (
    best_overfit,
    noise,
    train_longer,
    train_shorter,
)
from hpsearch.analysis.diagnosis.of_search.failing import failed, nothing_complete
from hpsearch.analysis.diagnosis.of_search.parameters import no_effect, trade_off
from hpsearch.analysis.diagnosis.of_search.picture import Picture, Rule
from hpsearch.analysis.diagnosis.of_search.ranges import best_on_border, few_good
from hpsearch.analysis.diagnosis.of_search.spending import cut_early, known_already
from hpsearch.storage.records import NewDiagnosis

# What is so whatever comes next: it is told before the end of a search, too.
EVER: tuple[Rule, ...] = (noise, failed, trade_off, no_effect, known_already)
# First whether there is a result, then whether to believe it, then what to do better next time.
RULES: tuple[Rule, ...] = (
    nothing_complete,
    failed,
    best_on_border,
    few_good,
    cut_early,
    noise,
    best_overfit,
    train_longer,
    train_shorter,
    trade_off,
    no_effect,
    known_already,
)


def diagnose_search(picture: Picture, *, ended: bool) -> list[NewDiagnosis]:
    """What is said of the whole search; little of a healthy one."""
    return [found for rule in (RULES if ended else EVER) for found in rule(picture)]
