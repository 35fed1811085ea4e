"""``push``: copies the results of a pulled run back to AWS."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from lokki.aws import check_installed
from lokki.cli.command import Command
from lokki.cli.options import config_from, run_named, run_parameters, settings
from lokki.cli.program import Program
from lokki.cli.transfer import with_large
from lokki.config import journal_path
from lokki.errors import RunNotFound
from lokki.logging import counted
from lokki.model.run import AWS

if TYPE_CHECKING:
    from lokki.store.protocol import PayloadStore

_HELP = """Copy the results of a pulled run back to AWS.

`resume --on aws` then continues with them there.
"""


@click.command(
    "push",
    cls=Command,
    params=[*run_parameters(), *settings("aws", "local")],
    help=_HELP,
    example="last",
)
@click.pass_obj
def command(program: Program, /, run: str | None, run_option: str | None, **options: Any) -> None:
    check_installed()
    from lokki.aws.home import push as give
    from lokki.backends.opening import opened_aws
    from lokki.store.journal import Journal

    config = config_from(options)
    journal = journal_path(config)
    with opened_aws(config) as backend, closing(Journal(journal)) as book:
        try:
            found = book.history.find(run_named(run, run_option), program.flow)
        except RunNotFound as error:
            raise RunNotFound(f"{error}; `lokki pull RUN FILE` copies a run here") from error
        backend.find(found.id, found.flow)
        observation = backend.wait(backend.executions.observe, found.flow, found.id)

        def send(large: PayloadStore) -> Awaitable[int]:
            return give(backend.executions, found, observation.machine.stages, book, large)

        pushed = backend.wait(with_large, journal, config, send)
    resume = program.at(AWS).command("resume", found.id)
    click.echo(f"{counted(pushed, 'result')} of run {found.id} copied to AWS")
    click.echo(f"resume it there: {resume}", err=True)
