"""SimulatedExecutor chooses widths as training does."""

from __future__ import annotations

import pytest
from training_cases import config, group

from hpsearch.executors.base import Reported
from hpsearch.executors.simulated import SimulatedExecutor
from workers.training.widths import best


@pytest.mark.parametrize("step_s", [lambda width: width, lambda width: 1 + width / 16], ids="=>")
def test_the_width_that_takes_the_least_time_a_row_is_taken_the_wider_of_equals(step_s) -> None:
    executor = SimulatedExecutor(lambda member, epoch: {"val_accuracy": 0.5}, step_s=step_s)
    executor.start(0, group(*[config()] * 6, epochs=1, measures=True))
    (told,) = [update for update in executor.wait(1.0) if isinstance(update, Reported)]
    assert [speed.width for speed in told.report.speeds] == [1, 4, 6]
    assert told.report.width == best(told.report.speeds) == 6
