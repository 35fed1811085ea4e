"""``pause``: has a run begin nothing more, until ``unpause``."""

from __future__ import annotations

from time import sleep

import click

from lokki.cli.backends import opened
from lokki.cli.command import Command
from lokki.cli.options import ANYWHERE, run_named, run_parameters
from lokki.cli.program import Program

_LOOK_SECONDS = 0.5


@click.command("pause", cls=Command, example="last", params=[*run_parameters(), ANYWHERE])
@click.pass_obj
def command(program: Program, /, run: str | None, run_option: str | None, on: str | None) -> None:
    """Pause a run, whichever process runs it.

    Waits for calls that are running. A paused run has no worker; `unpause` continues it.
    """
    with opened(on) as backend:
        found = backend.find(run_named(run, run_option), program.flow)
        run_id = found.id
        for waited, _ in enumerate(backend.pause(run_id)):
            if not waited:
                click.echo(f"pausing run {run_id}: waiting for its calls to end", err=True)
            sleep(max(_LOOK_SECONDS, backend.poll_interval))
        paused = backend.find(run_id)
    if paused.status != "paused":
        raise click.ClickException(f"run {run_id} is not paused: it is {paused.status}")
    unpause = program.at(on or found.where).command("unpause", run_id)
    click.echo(f"run {run_id} is paused; continue: {unpause}", err=True)
