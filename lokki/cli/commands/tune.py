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

    Until the map ends; calls that have begun go on. Here, it holds in place of the map's
    `concurrency_limit`, and of lower limits for threads and async calls; not of `processes`.
    """
    with opened(on) as backend:
        found = backend.find(run_named(run, run_option), program.flow)
        tuned = backend.tune(found.id, concurrency)
    before = "" if tuned.before is None else f", not {tuned.before:,}"
    click.echo(f"map '{tuned.stage}' of run {found.id}: {tuned.concurrency:,} at a time{before}")
