"""``flows``: the flows that can be run."""

from __future__ import annotations

import json

import click

from lokki.cli.command import Command
from lokki.cli.offered import PARAMETERS, offered_flows, tell_problems
from lokki.model.base import fields_of

_DEFINE = "define one with @flow, or name its file or folder"


@click.command("flows", cls=Command, params=PARAMETERS, example="birds.py")
def command(sources: tuple[str, ...], as_json: bool, on: str) -> None:
    """List flows with their files, parameters and schedules.

    Lists those of the named files, modules and folders; without any, those of this folder's files.
    With --on URL, those that a server offers.
    """
    found = offered_flows(on, sources)
    if as_json:
        click.echo(json.dumps(found, indent=2, default=fields_of))
    else:
        from lokki.cli.render.flows import show_flows

        show_flows(found.flows)
    tell_problems(found.problems, "" if found.flows else f"no flows; {_DEFINE}")
