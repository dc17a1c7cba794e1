"""Whether the space holds the best at all, and enough that is nearly as good.

Rules of ``of_search.rules``. Source: Godbole et al., Deep Learning Tuning Playbook (2023),
"Identifying bad search space boundaries" and "Not sampling enough points in the search space".
"""

from __future__ import annotations

from collections.abc import Iterator

from hpsearch.analysis.diagnosis.of_search.picture import Picture
from hpsearch.analysis.observing import observe
from hpsearch.sampling.border import still_on_border
from hpsearch.storage.records import NewDiagnosis
from workers.config import DOMAINS
from workers.keys import key

LEAST_GOOD = 3  # one may be luck, of two nobody knows which way the good ones lie
LEAST_TRIED = 20  # to the end, in the last stage: of fewer it is no wonder


def best_on_border(picture: Picture) -> Iterator[NewDiagnosis]:
    """The last stage's best trials crowd an edge past which nobody looked."""
    if not picture.planned:
        return
    last = picture.planned[-1]
    reasons = still_on_border(
        picture.explored(last),
        observe(picture.of(last)),
        mode=picture.spec.objective.mode,
        seed=key(picture.spec.seed, "verdict"),
        limits=DOMAINS,
        expand=picture.spec.stages[last].expand,
    )
    for reason in reasons:
        if reason.action == "limit":
            continue  # there is nothing past it, and nothing to warn of
        yield NewDiagnosis(
            kind="best_on_border",
            message=reason.text,
            evidence=dict(reason.evidence),
            stage_id=picture.stages_of(last)[-1].id,
        )


def few_good(picture: Picture) -> Iterator[NewDiagnosis]:
    """Hardly any trial of the last stage comes near the best: it was hit by luck, not found."""
    if not picture.planned:
        return
    last = picture.planned[-1]
    tried = [trial for trial in picture.tried(last) if trial.state == "complete"]
    ranked = picture.last()
    if len(tried) < LEAST_TRIED or not ranked:
        return
    good = list(filter(picture.is_good(ranked), ranked))
    if len(good) >= LEAST_GOOD:
        return
    name = picture.name(last)
    alone = "none of the others comes" if len(good) == 1 else "one other alone comes"
    yield NewDiagnosis(
        kind="few_good",
        message=f"number {ranked[0].number} ({ranked[0].value:.4g}) is the best of the "
        f"{len(picture.of(last))} trials of stage {name}, and {alone} near it: good values fill so "
        "little of the space that better ones may have been missed; add a stage after "
        f"{name}, which narrows the ranges around the best, or give {name} more trials "
        f"(trials: {2 * len(tried)})",
        evidence={"good": len(good), "tried": len(tried), "best": ranked[0].value},
        stage_id=picture.stages_of(last)[-1].id,
    )
