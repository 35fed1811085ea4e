"""``doctor``: checks what runs and deploys need."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

import click

from lokki.cli.command import Command
from lokki.cli.listing import print_json
from lokki.cli.options import JSON, SOURCES

if TYPE_CHECKING:
    from lokki.cli.doctor.check import Check


@click.command("doctor", cls=Command, params=[SOURCES, JSON], example="birds.py")
def command(sources: tuple[str, ...], as_json: bool) -> None:
    """Check what runs and deploys need, and say how to fix it.

    Checks the versions of packages, the configuration, the journal, a small run, the flows of this
    folder or of the files named, and, where a bucket is configured, the AWS account, with requests
    that only read. Changes nothing. Exits with 1 if a check fails.
    """
    import anyio

    found: list[Check] = []

    async def check() -> None:
        async for each in _checks(sources):
            found.append(each)
            if not as_json:
                _tell(each)

    anyio.run(check)
    if as_json:
        from dataclasses import asdict

        print_json([asdict(each) for each in found])
    if any(each.state == "error" for each in found):
        raise click.exceptions.Exit(1)


async def _checks(sources: Sequence[str]) -> AsyncIterator[Check]:
    """Everything that is checked, the first causes first."""
    from lokki.cli.doctor.account import aws
    from lokki.cli.doctor.check import Check
    from lokki.cli.doctor.here import configuration, packages, python, run
    from lokki.cli.doctor.offered import flows
    from lokki.cli.doctor.records import journal, payloads
    from lokki.config import load
    from lokki.errors import ConfigError

    yield python()
    for each in packages():
        yield each
    yield await run()
    try:
        config = load()
    except ConfigError as error:
        yield Check("configuration", "error", str(error), "`lokki config` lists the keys")
        return
    for checks in (configuration(config), journal(config), payloads(config), flows(sources)):
        for each in checks:
            yield each
    async for each in aws(config):
        yield each


_COLORS = {"ok": "green", "warning": "yellow", "error": "red"}


def _tell(check: Check) -> None:
    from lokki.cli.render.words import as_options
    from lokki.wording import said

    state = click.style(f"{check.state:<7}", fg=_COLORS[check.state])
    first, *rest = said(check.found, as_options).splitlines() or [""]
    click.echo(f"{state}  {check.subject:<14}  {first}")
    for line in rest:
        click.echo(f"{'':<25}{line}")
    if check.advice is not None and check.state != "ok":
        click.echo(f"{'':<25}→ {said(check.advice, as_options)}")
