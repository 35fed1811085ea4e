"""``diff``: compares two runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lokki.cli import completing
from lokki.cli.backends import opened
from lokki.cli.command import Command
from lokki.cli.listing import print_json
from lokki.cli.options import ANYWHERE, JSON
from lokki.cli.program import Program

if TYPE_CHECKING:
    from lokki.backends.backend import Backend
    from lokki.model.run import Run


@click.command(
    "diff",
    cls=Command,
    example="20260203 last",
    params=[
        click.Argument(["first"], metavar="RUN", shell_complete=completing.runs),
        click.Argument(["second"], metavar="RUN", shell_complete=completing.runs),
        JSON,
        ANYWHERE,
    ],
)
@click.pass_obj
def command(program: Program, /, first: str, second: str, as_json: bool, on: str | None) -> None:
    """Compare two runs: parameters, stages, failures, results.

    Results are compared as JSON; none of your code is imported.
    """
    from lokki.model.comparison import compare

    with opened(on) as backend:
        one, other = (backend.run(backend.find(name, program.flow).id) for name in (first, second))
        found = compare(one, other, _result(backend, one), _result(backend, other))
    if as_json:
        print_json(found)
        return
    from lokki.cli.render.diff import show_comparison

    show_comparison(found)


def _result(backend: Backend, run: Run) -> dict[str, Any] | None:
    """The result of a run that has one, as JSON or by its type."""
    from lokki.backends.values import NotShown, whole

    if run.status != "succeeded" or run.removing:
        return None
    try:
        return {"json": whole(backend.pickled_result(run.id))}
    except NotShown as error:
        return error.description
