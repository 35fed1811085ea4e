"""``rehearse``: runs a flow here as AWS would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lokki.cli.command import Command
from lokki.cli.configuration import configured
from lokki.cli.graphs import asked_graph
from lokki.cli.parameters import options_of
from lokki.cli.program import Program
from lokki.cli.streams import stdout_to_stderr
from lokki.cli.target import on_target
from lokki.decorators import Flow
from lokki.errors import RunFailed
from lokki.rehearse import check_installed

if TYPE_CHECKING:
    from lokki.config import Config
    from lokki.graph import FlowGraph
    from lokki.rehearse.outcome import Rehearsed

_HELP = """Run a flow's build here as AWS would.

Creates what `build` writes on an AWS in this process, executes it, and compares it with a run here.
"""
_UNPROVEN = (
    "permissions (`build` lists them; they are not enforced here)",
    "quotas and cold starts",
    "the build of an image by Docker",
    "names of executions over 80 characters",
)
_UNCONFINED = (
    "that files are read-only and /tmp has a size (this system has no user namespaces for it)"
)


def rehearse_command(flow: Flow[..., Any], program: Program) -> click.Command:
    def rehearse(
        params: Path | None, logs: bool, account_concurrency: int | None, **options: Any
    ) -> None:
        graph = asked_graph(flow, params, options, here=True)
        done = _rehearse(graph, configured(), account_concurrency, logs=logs)
        raise click.exceptions.Exit(done)

    shown = click.Option(["--logs"], is_flag=True, help="Print all log lines.")
    concurrency = click.Option(
        ["--account-concurrency"],
        type=click.IntRange(1, 64),
        metavar="INT",
        help="Refuse more functions at a time, like an account with this quota.",
    )
    parameters = options_of(flow, [shown, concurrency])
    return Command("rehearse", params=parameters, callback=rehearse, help=_HELP)


def _rehearse(graph: FlowGraph[Any], config: Config, concurrency: int | None, *, logs: bool) -> int:
    import anyio

    check_installed()
    assert graph.flow is not None
    from rich.console import Console

    from lokki.cli.render.rehearsal import show_failures, show_lines, show_states, teller
    from lokki.rehearse.comparison import local_result, same
    from lokki.rehearse.rehearsal import rehearsing

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    params = graph.flow.parameters.given(graph.params)
    with stdout_to_stderr():
        with (
            console.status("rehearsing") as status,
            rehearsing(concurrency=concurrency) as rehearsal,
        ):
            done = anyio.run(rehearsal.run, graph, params, config, teller(console, status.update))
        failed = done.status != "SUCCEEDED"
        show_states(done, console)
        show_lines(done, console, every=logs)
        if failed:
            show_failures(done, console)
        with console.status("running it here") as status:
            teller(console, status.update)("running it here for comparison")
            difference = _compared(graph, done, local_result, same)
    if not failed:
        print(done.result)
    console.print(difference or "The result is the same as here.", markup=False)
    unproven = _UNPROVEN if rehearsal.confined else (*_UNPROVEN, _UNCONFINED)
    console.print(f"Not proven: {'; '.join(unproven)}.")
    return 1 if failed or difference else 0


def _compared(
    graph: FlowGraph[Any], done: Rehearsed, run: Callable[..., Any], same: Callable[..., bool]
) -> str:
    """How the result differs from a run here; empty if it does not."""
    import anyio

    try:
        here = anyio.run(run, graph)
    except RunFailed as failed:
        if done.status == "SUCCEEDED":
            return f"It differs: here, the run fails: {failed}"
        return f"Here, the run fails, too: {failed}"
    if done.status != "SUCCEEDED":
        return "It differs: here, the run succeeds."
    return "" if same(done.result, here) else f"It differs: here, the result is {here!r}"


command = on_target("rehearse", "birds.py --limit 5", _HELP, rehearse_command)
