"""``unpause``: continues a paused run."""

from __future__ import annotations

import click

from lokki.cli.backends import opened
from lokki.cli.command import Command
from lokki.cli.options import ANYWHERE, run_named, run_parameters
from lokki.cli.program import Program


@click.command("unpause", cls=Command, example="last", params=[*run_parameters(), ANYWHERE])
@click.pass_obj
def command(program: Program, /, run: str | None, run_option: str | None, on: str | None) -> None:
    """Continue a paused run.

    In the process that has it or, for a run of `lokki serve`, in its next free runner. If the
    process of the run is gone, `resume` continues it.
    """
    with opened(on) as backend:
        found = backend.find(run_named(run, run_option), program.flow)
        if found.status == "paused" and not found.goes_on:
            resume = program.at(on or found.where).command("resume", found.id)
            raise click.ClickException(
                f"the process of run {found.id} is gone, so nothing can continue it: {resume}"
            )
        continued = backend.unpause(found.id)
    queued = continued.status == "queued"
    click.echo(f"run {found.id} {'waits for a runner' if queued else 'continues'}", err=True)
