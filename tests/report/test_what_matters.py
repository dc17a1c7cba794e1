"""The section of importance: what chance gives stands beside each share, and nothing is claimed."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from reported import stored
from searched import a_searched, a_spec_of, a_stage_of, trials_of

from hpsearch.report.importance import importance
from hpsearch.report.panel import INK, OTHERS, PALETTE, Panel
from hpsearch.report.reading import Reading
from hpsearch.report.section import Section, Text

SPACE = {
    "learning_rate": {"log_uniform": [1e-6, 1.0]},
    "dropout": {"uniform": [0.0, 0.6]},
    "batch_size": {"choice": [32, 64]},
}


def a_section(reading: Reading, again: int = 0) -> Section:
    """Of 80 trials in which the rate decides; ``again`` of them are repeated."""
    spec, draw = a_spec_of(SPACE), random.Random(0)
    params = [
        {
            "learning_rate": 10 ** draw.uniform(-6, 0),
            "dropout": draw.uniform(0, 0.6),
            "batch_size": 32,
        }
        for _ in range(80)
    ]
    trials = trials_of(params, [-abs(math.log10(one["learning_rate"]) + 2) for one in params])
    more = [one.changed({"id": 100 + one.id, "parent_id": one.id}) for one in trials[:again]]
    held = ([a_stage_of(spec)], [*trials, *more])
    return importance(replace(reading, record=a_searched(spec), stored=held))


@pytest.fixture
def reading(sqlite_url: str) -> Reading:
    return stored(sqlite_url)


def words(section: Section) -> list[str]:
    return [part.words for part in section.parts if isinstance(part, Text)]


def test_a_share_within_chance_is_grey_and_chance_is_drawn_for_each(reading: Reading) -> None:
    (panel,) = (part for part in a_section(reading).parts if isinstance(part, Panel))
    beyond, within, chance = panel.marks
    assert [name for _, name in panel.y.ticks or ()] == ["dropout", "learning_rate"]
    assert (beyond.color, within.color, chance.color) == (PALETTE[0], OTHERS, INK)
    assert (beyond.x[0], within.x[1]) == (None, None)
    shares, by_chance = (within.x[0], beyond.x[1]), chance.x
    assert None not in (*shares, *by_chance)
    assert sum(share or 0 for share in shares) == pytest.approx(1, abs=1e-4)
    assert (shares[0] or 0) < (by_chance[0] or 0)
    assert (shares[1] or 0) > (by_chance[1] or 0)


def test_it_is_not_advised_to_fix_what_these_trials_do_not_tell_of(reading: Reading) -> None:
    said = " ".join(words(a_section(reading)))
    assert "tell neither that the parameter matters nor that it does not" in said
    assert "fix" not in said


@pytest.mark.parametrize(
    ("again", "said"),
    [
        (0, "Nothing can be told of:"),
        (
            1,
            "1 more trial repeats one that counts here, or goes on with it: nothing new.",
        ),
        (3, "3 more trials repeat some that count here, or go on with them: nothing new."),
    ],
)
def test_trials_that_were_merged_are_told(reading: Reading, again: int, said: str) -> None:
    assert words(a_section(reading, again))[-1] == said
