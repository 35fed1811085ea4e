"""``cancel``: ends a run."""

from __future__ import annotations

from time import sleep

import click

from lokki.cli.backends import opened
from lokki.cli.command import Command
from lokki.cli.options import ANYWHERE, run_named, run_parameters
from lokki.cli.program import Program

_ENDED = {"succeeded": "succeeded", "failed": "failed", "cancelled": "been cancelled"}
_LOOK_SECONDS = 0.5


@click.command("cancel", cls=Command, example="last", params=[*run_parameters(), ANYWHERE])
@click.pass_obj
def command(program: Program, /, run: str | None, run_option: str | None, on: str | None) -> None:
    """Cancel a run, whichever process runs it.

    Waits for calls that are running in threads. Results are kept for a resume.
    """
    with opened(on) as backend:
        found = backend.find(run_named(run, run_option), program.flow)
        run_id = found.id
        if found.finished is not None:
            raise click.ClickException(f"run {run_id} has already {_ENDED[found.status]}")
        for waited, _ in enumerate(backend.cancel(run_id)):
            if not waited:
                click.echo(f"cancelling run {run_id}: waiting for its calls to end", err=True)
            sleep(max(_LOOK_SECONDS, backend.poll_interval))
        status = backend.find(run_id).status
    if status in ("running", "paused"):
        raise click.ClickException(f"another process has run {run_id} now, and keeps it")
    if status != "cancelled":
        raise click.ClickException(f"run {run_id} has meanwhile {_ENDED[status]}")
    resume = program.at(on or found.where).command("resume", run_id)
    click.echo(f"run {run_id} is cancelled; resume: {resume}", err=True)
