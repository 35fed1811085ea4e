"""``schedules``: lists when runs of flows start."""

from __future__ import annotations

import json

import click

from lokki.cli.command import Command
from lokki.cli.offered import PARAMETERS, offered_flows, tell_problems
from lokki.model.base import fields_of

_SCHEDULE = "give a flow one: @flow(schedule='cron(0 9 * * ? *)')"


@click.command("schedules", cls=Command, params=PARAMETERS, example="birds.py")
def command(sources: tuple[str, ...], as_json: bool, on: str) -> None:
    """List schedules with their next times and last runs.

    They are those of the flows that `lokki flows` lists. A server (`lokki serve`) starts their
    runs. Times are local, in JSON UTC.
    """
    found = offered_flows(on, sources)
    scheduled = [each for each in found.flows if each.schedule is not None]
    if as_json:
        rows = [
            {"flow": each.name, "file": each.file, **fields_of(each.schedule)} for each in scheduled
        ]
        answer = {"schedules": rows, "problems": found.problems}
        click.echo(json.dumps(answer, indent=2, default=fields_of))
    else:
        from lokki.cli.backends import opened
        from lokki.cli.render.flows import show_schedules

        with opened(on) as backend:
            show_schedules(scheduled, backend)
    tell_problems(found.problems, "" if scheduled else f"no schedules; {_SCHEDULE}")
