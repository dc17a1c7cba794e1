"""``hpsearch preview``: what a search would do, nothing run.

Added to the group in ``cli.main``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from hpsearch.cli.options import format_option, set_option, spec_argument

if TYPE_CHECKING:
    from pandas import DataFrame

    from hpsearch.spec.preview import PlanRow
    from hpsearch.spec.search import Search


@click.command()
@spec_argument
@set_option
@format_option
@click.option(
    "--samples",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="How many sampled trials to show.",
)
def preview(spec: str, overrides: tuple[str, ...], form: str, samples: int) -> None:
    """Show the stages, counts and a few sampled trials of SPEC; nothing is run or stored.

    The rungs are the epochs after which a stage's pruner decides who goes on.
    """
    from pandas import DataFrame

    from hpsearch.cli.tables import echo_frame, print_table
    from hpsearch.coordinator.costs import at_most
    from hpsearch.spec import load
    from hpsearch.spec.preview import plan_summary

    search = load(spec, overrides)
    rows = plan_summary(search)
    frame = _frame(search, rows)
    if form == "table":
        frame = frame.dropna(axis="columns", how="all")  # without a pruner, say
    echo_frame(frame, form, f"{search.name}: stages")
    if form == "table" and samples > 0:
        from hpsearch.coordinator.planning import sample_first

        sampled = DataFrame(sample_first(search, samples))
        title = f"the first {len(sampled)} trials that it would sample"
        print_table(sampled, title, all_with="a wider screen")
        total = sum(row.trial_epochs for row in rows)
        click.echo(
            f"{sum(row.trials for row in rows)} trials, {at_most(search)}{total} epochs of single "
            "trials, without the extensions that stages may make"
        )


def _frame(search: Search, rows: Sequence[PlanRow]) -> DataFrame:
    """The rows, with the pruner of each stage and its rungs: those of Hyperband's first bracket."""
    from dataclasses import asdict

    from pandas import DataFrame

    from hpsearch.spec.pruning import rungs

    return DataFrame(
        {
            **asdict(row),
            "pruner": None if stage.pruner is None else stage.pruner.name,
            "rungs": None if stage.pruner is None else list(rungs(stage.pruner, stage.epochs)),
        }
        for row, stage in zip(rows, search.stages, strict=True)
    )


COMMANDS = (preview,)
