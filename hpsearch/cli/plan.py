"""``hpsearch preview``: what a search would do, nothing run.

Added to the group in ``cli.main``.
"""

from __future__ import annotations

import click

from hpsearch.cli.options import format_option, set_option, spec_argument


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
    """Show the stages, counts and a few sampled trials of SPEC; nothing is run or stored."""
    from dataclasses import asdict

    from pandas import DataFrame

    from hpsearch.cli.tables import echo_frame, print_table
    from hpsearch.spec import load
    from hpsearch.spec.preview import plan_summary

    search = load(spec, overrides)
    rows = plan_summary(search)
    echo_frame(DataFrame([asdict(row) for row in rows]), form, f"{search.name}: stages")
    if form == "table" and samples > 0:
        from hpsearch.coordinator.planning import sample_first

        sampled = DataFrame(sample_first(search, samples))
        title = f"the first {len(sampled)} trials that it would sample"
        print_table(sampled, title, all_with="a wider screen")
        total = sum(row.trial_epochs for row in rows)
        click.echo(
            f"{sum(row.trials for row in rows)} trials, {total} epochs of single trials, without "
            "the extensions that stages may make"
        )


COMMANDS = (preview,)
