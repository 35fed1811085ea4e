"""The commands that bring a run on AWS home, and give what came of it back: pull, push."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lokki.aws import check_installed
from lokki.cli.graphs import traced
from lokki.cli.options import Command, config_from, run_named, run_parameters, settings
from lokki.cli.program import Program
from lokki.cli.streams import stdout_to_stderr
from lokki.config import journal_path
from lokki.decorators import Flow
from lokki.errors import RunNotFound
from lokki.logging import counted
from lokki.places import AWS
from lokki.secret import HIDDEN, Secret

if TYPE_CHECKING:
    from pathlib import Path

    from lokki.aws.home import Pulled
    from lokki.config import Config
    from lokki.store.protocol import TransientStore

T = TypeVar("T")

PULL = """Bring a run on AWS home, to go on with it here.

Its results are kept, so that `resume` runs what has failed: on this machine, under a debugger, say.
With --failed, items that AWS has not come to are left to it.
"""
PUSH = """Give the results of a run that was pulled back to AWS.

`resume --on aws` then goes on with them there.
"""


def pull_command(
    flow_of: Callable[..., Flow[..., Any]], target: Sequence[click.Parameter]
) -> click.Command:
    """``pull RUN``, of the flow that ``flow_of`` gives for the ``target``, an argument if any."""

    def pull(run: str | None, run_option: str | None, **options: Any) -> None:
        given = [options.pop(str(each.name)) for each in target]
        program = click.get_current_context().obj
        with stdout_to_stderr():
            flow = flow_of(*given)
        _pull(run_named(run, run_option), flow, program, **options)

    only = click.Option(
        ["--failed", "only_failed"], is_flag=True, help="Leave what AWS has not come to there."
    )
    anew = click.Option(["--replace"], is_flag=True, help="Replace the run that is here already.")
    parameters = [*run_parameters(), *target, only, anew, *settings("aws", "local")]
    return Command("pull", params=parameters, callback=pull, help=PULL, example="last --failed")


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
    from lokki.aws.home import pull
    from lokki.aws.picture import params_of
    from lokki.cli.places import opened_aws

    config = config_from(options)
    journal = journal_path(config)
    with opened_aws(config) as place:
        run = place.run(place.find(name, flow.name)["id"])
        looked = place.wait(place.executions.looked, run["flow"], run["id"])
        hidden = {each.name: Secret(HIDDEN) for each in flow.parameters.secrets}
        graph = traced(flow, lambda: flow.trace(params_of(looked.execution), checked=hidden))

        def bring(large: TransientStore) -> Awaitable[Pulled]:
            return pull(
                place.executions,
                run,
                graph,
                journal,
                large,
                only_failed=only_failed,
                replace=replace,
                started_by=program.told("pull", run["id"]),
            )

        done = place.wait(_with_large, journal, config, bring)
    left = f", {counted(done.left, 'item')} left on AWS" if done.left else ""
    resume = program.told("resume", run["id"])
    click.echo(
        f"run {run['id']} is here: {counted(done.results, 'result')}, {done.failed:,} failed{left}"
    )
    click.echo(f"go on with it: {resume}", err=True)


@click.command(
    "push",
    cls=Command,
    params=[*run_parameters(), *settings("aws", "local")],
    help=PUSH,
    example="last",
)
@click.pass_obj
def push(program: Program, /, run: str | None, run_option: str | None, **options: Any) -> None:
    check_installed()
    from lokki.aws.home import push as give
    from lokki.cli.places import opened_aws
    from lokki.store.journal import Journal

    config = config_from(options)
    journal = journal_path(config)
    with opened_aws(config) as place, closing(Journal(journal)) as book:
        try:
            found = book.history.find(run_named(run, run_option), program.flow)
        except RunNotFound as error:
            raise RunNotFound(f"{error}; `lokki pull RUN FILE` brings a run here") from error
        place.find(found.id, found.flow)
        looked = place.wait(place.executions.looked, found.flow, found.id)

        def send(large: TransientStore) -> Awaitable[int]:
            return give(place.executions, found, looked.machine.stages, book, large)

        pushed = place.wait(_with_large, journal, config, send)
    resume = program.at(AWS).told("resume", found.id)
    click.echo(f"{counted(pushed, 'result')} of run {found.id} put on AWS")
    click.echo(f"go on with it there: {resume}", err=True)


async def _with_large(
    journal: Path, config: Config, use: Callable[[TransientStore], Awaitable[T]]
) -> T:
    """What ``use`` gives, of the store of large results beside the journal."""
    from lokki.engine.payloads import payload_store

    large = payload_store(journal, config)
    try:
        return await use(large)
    finally:
        await large.close()
