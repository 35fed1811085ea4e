"""``tune``: changes how many items of a running map run at a time."""

from __future__ import annotations

import click

from lokki.builder.concurrency import MOST_CHILDREN
from lokki.cli.backends import opened
from lokki.cli.command import Command
from lokki.cli.options import ANYWHERE, run_named, run_parameters
from lokki.cli.program import Program

_CONCURRENCY = click.Option(
    ["--concurrency"],
    type=click.IntRange(1, MOST_CHILDREN),
    required=True,
    metavar="INT",
    help="How many items run at a time from now on.",
)


@click.command(
    "tune",
    cls=Command,
    example="last --concurrency 200",
    params=[*run_parameters(), _CONCURRENCY, ANYWHERE],
)
@click.pass_obj
def command(
    program: Program, /, run: str | None, run_option: str | None, concurrency: int, on: str | None
) -> None:
    """Change how many items of a run's map run at a time.

    Only on AWS, while the map runs. Calls that have begun go on.
    """
    with opened(on) as backend:
        found = backend.find(run_named(run, run_option), program.flow)
        tuned = backend.tune(found.id, concurrency)
    click.echo(
        f"map '{tuned.stage}' of run {found.id}: {tuned.concurrency:,} at a time, not "
        f"{tuned.before:,}"
    )
