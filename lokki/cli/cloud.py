"""The commands for AWS: build, rehearse and plan here, which need no account, and all others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from lokki.cli.deploying import deploy_command, destroy_command
from lokki.cli.graphs import asked_graph
from lokki.cli.invoking import invoke_command
from lokki.cli.options import Command, configured, options_of
from lokki.cli.program import Program
from lokki.cli.streams import stdout_to_stderr
from lokki.decorators import Flow
from lokki.errors import RunFailed
from lokki.rehearse import check_installed

if TYPE_CHECKING:
    from lokki.config import Config
    from lokki.graph import FlowGraph
    from lokki.rehearse.rehearsal import Rehearsed

BUILD = "Write the package and the template for AWS."
REHEARSE = """Run a flow's build here as AWS would.

What `build` writes is created on an AWS in this process, executed and compared with a run here.
"""
PLAN = """Tell what a run on AWS uses and costs.

Besides, the limits that it comes near, and what to change.
"""
_UNPROVEN = (
    "permissions (they are listed by `build`, and not enforced here)",
    "quotas and cold starts",
    "the build of an image by Docker",
    "names of executions over 80 characters",
)


def build_command(flow: Flow[..., Any], program: Program) -> click.Command:
    def build(params: Path | None, **options: Any) -> None:
        from lokki.builder.builder import build as build_flow
        from lokki.cli.cloud_view import show_build

        graph = asked_graph(flow, params, options, here=False, whole=False)
        with stdout_to_stderr():
            built = build_flow(graph, configured())
        show_build(built, graph)

    parameters = options_of(flow, whole=False)
    return Command("build", params=parameters, callback=build, help=BUILD, example="")


def rehearse_command(flow: Flow[..., Any], program: Program) -> click.Command:
    def rehearse(params: Path | None, logs: bool, **options: Any) -> None:
        graph = asked_graph(flow, params, options, here=True)
        raise click.exceptions.Exit(_rehearse(graph, configured(), logs=logs))

    shown = click.Option(["--logs"], is_flag=True, help="Print all log lines.")
    return Command("rehearse", params=options_of(flow, [shown]), callback=rehearse, help=REHEARSE)


def plan_command(flow: Flow[..., Any], program: Program) -> click.Command:
    def plan(params: Path | None, items: int, seconds_per_item: float, **options: Any) -> None:
        from lokki.builder.plan import plan_of
        from lokki.cli.cloud_view import show_plan

        graph = asked_graph(flow, params, options, here=False, whole=False)
        show_plan(plan_of(graph, configured(), items, seconds_per_item))

    items = click.Option(
        ["--items"],
        type=click.IntRange(0),
        default=1_000,
        metavar="INT",
        help="Items of each map.  [default: 1000]",
    )
    seconds = click.Option(
        ["--seconds-per-item"],
        type=click.FloatRange(0),
        default=1.0,
        metavar="FLOAT",
        help="Seconds that each call takes.  [default: 1]",
    )
    parameters = options_of(flow, [items, seconds], whole=False)
    return Command("plan", params=parameters, callback=plan, help=PLAN)


MakeCommand: TypeAlias = Callable[[Flow[..., Any], Program], click.Command]
COMMANDS: dict[str, MakeCommand] = {
    "build": build_command,
    "rehearse": rehearse_command,
    "plan": plan_command,
    "deploy": deploy_command,
    "invoke": invoke_command,
    "destroy": destroy_command,
}
"""What makes a command for a flow."""


def _rehearse(graph: FlowGraph[Any], config: Config, *, logs: bool) -> int:
    import anyio

    check_installed()
    assert graph.flow is not None
    from rich.console import Console

    from lokki.cli.cloud_view import show_failures, show_lines, show_states, teller
    from lokki.rehearse.comparison import local_result, same
    from lokki.rehearse.rehearsal import rehearsing

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    params = graph.flow.parameters.given(graph.params)
    with stdout_to_stderr():
        with console.status("rehearsing") as status, rehearsing() as rehearsal:
            tell = teller(console, status.update)
            done = anyio.run(rehearsal.run, graph, params, config, tell)
            failed = done.status != "SUCCEEDED"
            tell("running it here, to compare")
            told = _compared(graph, done, local_result, same)
        show_states(done, console)
        show_lines(done, console, every=logs)
        if failed:
            show_failures(done, console)
    if not failed:
        print(done.result)
    console.print(told or "The result is the same as here.", markup=False)
    console.print(f"Not proven: {'; '.join(_UNPROVEN)}.")
    return 1 if failed or told else 0


def _compared(
    graph: FlowGraph[Any], done: Rehearsed, run: Callable[..., Any], same: Callable[..., bool]
) -> str:
    """What differs from a run here; nothing when nothing does."""
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
