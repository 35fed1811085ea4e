"""``notify``: sends a test notice to each target of ``[notify]``."""

from __future__ import annotations

import click

from lokki.cli.command import Command
from lokki.cli.configuration import configured


@click.command("notify", cls=Command, example="")
def command() -> None:
    """Send a test notice to each target of [notify], once.

    Exits with 1 if one of them cannot be reached or refuses it.
    """
    from time import time

    from lokki.model.status import RunStatus
    from lokki.notify.notice import TEST_RUN, Notice, Refused
    from lokki.notify.notifier import Notifier

    targets = Notifier(configured()).targets
    if not targets:
        raise click.ClickException(
            "no target: set webhook, slack, email or sns in [notify], as in\n\n  [notify]\n"
            '  email = "birds@example.com"\n  smtp = "smtp://user:password@mail.example.com:587"'
        )
    notice = Notice(TEST_RUN, "lokki", RunStatus.SUCCEEDED, time())
    failed = False
    for name, send in targets.items():
        try:
            send(notice)
        except (Refused, OSError) as error:
            failed = True
            click.echo(f"{name}: not delivered: {error}", err=True)
        else:
            click.echo(f"{name}: delivered")
    if failed:
        raise click.exceptions.Exit(1)
