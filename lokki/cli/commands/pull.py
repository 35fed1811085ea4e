"""``pull``: copies a run on AWS to this machine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from lokki.aws import check_installed
from lokki.cli.command import Command
from lokki.cli.graphs import traced
from lokki.cli.options import config_from, run_named, run_parameters, settings
from lokki.cli.program import Program
from lokki.cli.streams import stdout_to_stderr
from lokki.cli.target import target_argument
from lokki.cli.transfer import with_large
from lokki.config import journal_path
from lokki.decorators import Flow
from lokki.loading import load_flow
from lokki.logging import counted
from lokki.secret import HIDDEN, Secret

if TYPE_CHECKING:
    from lokki.aws.home import Pulled
    from lokki.store.protocol import PayloadStore

_HELP = """Copy a run on AWS to this machine, to resume it here.

Its results are kept, so that `resume` runs only what failed, under a debugger, say. With --failed,
items that AWS has not reached are left to it.
"""


def command(flow: Flow[..., Any] | None, program: Program) -> click.Command:
    """``pull RUN`` for the runs of one flow or, with None, ``pull RUN FILE[:flow]``."""
    if flow is None:
        return pull_command(load_flow, [target_argument()])
    return pull_command(lambda: flow, [])


def pull_command(
    flow_of: Callable[..., Flow[..., Any]], target: Sequence[click.Parameter]
) -> click.Command:
    """``pull RUN``, with the flow that ``flow_of`` returns for the ``target`` argument, if any."""

    def pull(run: str | None, run_option: str | None, **options: Any) -> None:
        given = [options.pop(str(each.name)) for each in target]
        program = click.get_current_context().obj
        with stdout_to_stderr():
            flow = flow_of(*given)
        _pull(run_named(run, run_option), flow, program, **options)

    only = click.Option(
        ["--failed", "only_failed"], is_flag=True, help="Leave what AWS has not reached there."
    )
    anew = click.Option(["--replace"], is_flag=True, help="Replace the run if it is already here.")
    parameters = [*run_parameters(), *target, only, anew, *settings("aws", "local")]
    return Command("pull", params=parameters, callback=pull, help=_HELP, example="last --failed")


def _pull(
    name: str,
    flow: Flow[..., Any],
    program: Program,
    *,
    only_failed: bool,
    replace: bool,
    **options: Any,
) -> None:
    check_installed()
    from lokki.aws.execution_view import params_of
    from lokki.aws.home import pull
    from lokki.backends.opening import opened_aws

    config = config_from(options)
    journal = journal_path(config)
    with opened_aws(config) as backend:
        run = backend.run(backend.find(name, flow.name).id)
        observation = backend.wait(backend.executions.observe, run.flow, run.id)
        hidden = {each.name: Secret(HIDDEN) for each in flow.parameters.secrets}
        graph = traced(flow, lambda: flow.trace(params_of(observation.execution), checked=hidden))

        def bring(large: PayloadStore) -> Awaitable[Pulled]:
            return pull(
                backend.executions,
                run,
                graph,
                journal,
                large,
                only_failed=only_failed,
                replace=replace,
                started_by=program.command("pull", run.id),
            )

        done = backend.wait(with_large, journal, config, bring)
    left = f", {counted(done.left, 'item')} left on AWS" if done.left else ""
    shown = f", {counted(done.shown, 'value')} that steps have shown" if done.shown else ""
    resume = program.command("resume", run.id)
    results = counted(done.results, "result")
    click.echo(f"run {run.id} is here: {results}, {done.failed:,} failed{left}{shown}")
    click.echo(f"resume it: {resume}", err=True)
