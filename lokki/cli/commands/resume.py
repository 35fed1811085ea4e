"""``resume``: continues a run."""

from __future__ import annotations

from dataclasses import replace
from time import time
from typing import TYPE_CHECKING, Any

import click

from lokki.cli.command import Command
from lokki.cli.graphs import traced
from lokki.cli.invoking import resume_on_aws
from lokki.cli.options import AGAIN, SETTINGS, again_from, config_from, run_named, run_parameters
from lokki.cli.parameters import ask_for_secrets, missing_secrets
from lokki.cli.program import Program
from lokki.cli.recorded import flow_of, found_run
from lokki.cli.render.words import as_options
from lokki.cli.running import command_line
from lokki.cli.target import target_argument
from lokki.config import Config, journal_path
from lokki.decorators import Flow
from lokki.loading import from_here
from lokki.model.run import AWS, LOCAL
from lokki.wording import said

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from lokki.cli.execute import Handle
    from lokki.cli.render.report import LineReport
    from lokki.store.runs import RunRecord

_OWN = """Resume a run that was interrupted or failed.

Keeps results; the rest runs with the current code.
"""


@click.command(
    "resume",
    cls=Command,
    params=[
        *run_parameters(),
        target_argument("[FILE[:flow]|MODULE[:flow]]", required=False),
        *AGAIN,
        *SETTINGS,
    ],
    example="last --failed",
)
@click.pass_obj
def resume(
    program: Program,
    /,
    run: str | None,
    run_option: str | None,
    target: str | None,
    **options: Any,
) -> None:
    """Resume a run that was interrupted or failed.

    Keeps results; the rest runs with the current code, in the file that the run was started from
    or in FILE.
    """
    if options["on"] != LOCAL:
        if target is not None:
            raise click.UsageError(f"leave '{target}' out: the flow's code is where it runs")
        name = run_named(run, run_option)
        raise click.exceptions.Exit(_resume_elsewhere(name, program, options))
    if run_option is not None and target is None:
        run, target = None, run
    if target is not None:
        target = from_here(target)
    found, config = found_run(run_named(run, run_option), program, options)
    flow = flow_of(found, target, "resume")
    raise click.exceptions.Exit(_resume(found, flow, program, config, options))


def resume_of(flow: Flow[..., Any], program: Program) -> click.Command:
    """``resume`` for the runs of one flow."""

    def resume(run: str | None, run_option: str | None, **options: Any) -> None:
        name = run_named(run, run_option)
        if options["on"] != LOCAL:
            raise click.exceptions.Exit(_resume_elsewhere(name, program, options))
        found, config = found_run(name, program, options)
        raise click.exceptions.Exit(_resume(found, flow, program, config, options))

    parameters = [*run_parameters(), *AGAIN, *SETTINGS]
    return Command("resume", params=parameters, callback=resume, help=_OWN, example="last --failed")


def command(flow: Flow[..., Any] | None, program: Program) -> click.Command:
    """``resume`` for the runs of one flow or, with None, of every flow."""
    return resume if flow is None else resume_of(flow, program)


def _resume(
    run: RunRecord, flow: Flow[..., Any], program: Program, config: Config, options: dict[str, Any]
) -> int:
    """Report what a resume will run again and, unless it is a dry run, resume."""
    again, dry_run = again_from(options), options.pop("dry_run")
    import anyio

    from lokki.cli.execute import Start, execute, in_engine
    from lokki.cli.render.report import outlines
    from lokki.engine.engine import resumed_graph
    from lokki.engine.parameters import with_configured_params
    from lokki.engine.resuming import plan
    from lokki.engine.surroundings import other_python
    from lokki.store.history import read_history
    from lokki.store.leases import is_worked_on

    with read_history(journal_path(config)) as history:
        row = history.find(run.id)
        if is_worked_on(row, time()):
            _refuse_worked_on(row, config)
        row = anyio.run(with_configured_params, row, config)
        # Secrets come last: a resume that is wrong or has nothing to do needs none.
        hidden = dry_run or bool(missing_secrets(flow))
        graph = traced(flow, lambda: resumed_graph(row, flow, {}, to_run=not hidden))
        planned = plan(history, row, graph, again)
        done = row.status == "succeeded" and planned.reopening is None
        if hidden and not dry_run and not done:
            secrets = ask_for_secrets(flow)
            graph = traced(flow, lambda: resumed_graph(row, flow, secrets))
            planned = replace(planned, graph=graph)
    summary = [said(line, as_options) for line in planned.summary]
    if dry_run:
        click.echo("\n".join(summary))
        return 0

    def begin(report: LineReport) -> AbstractAsyncContextManager[Handle]:
        started_by = command_line(program)
        return in_engine(
            lambda engine: engine.resume_as(planned, started_by=started_by),
            planned.graph,
            config,
            report,
        )

    start = Start(begin, outlines(planned.graph), program, summary, other_python(run))
    return execute(start, config)


def _refuse_worked_on(run: RunRecord, config: Config) -> None:
    """Refuse to resume a run that a process may be working on, for at most a lease."""
    from contextlib import closing

    from lokki.store.journal import Journal

    with closing(Journal(journal_path(config))) as journal:
        journal.refuse_worked_on(run.id, time()).result()


def _resume_elsewhere(name: str, program: Program, options: dict[str, Any]) -> int:
    on_aws = options["on"] == AWS
    return (resume_on_aws if on_aws else _resume_on_server)(name, program, options)


def _resume_on_server(name: str, program: Program, options: dict[str, Any]) -> int:
    """Like `_resume`, for a run of a server, with the server's code."""
    from lokki.backends.changes import kept
    from lokki.backends.server import ServerBackend
    from lokki.cli.execute import Start, execute
    from lokki.cli.follow import followed
    from lokki.cli.render.report import Outline

    on, config, again = options.pop("on"), config_from(options), again_from(options)
    if again.force:
        raise click.UsageError(f"--force is for runs of this machine, not for those of {on}")
    if again.deployed:
        raise click.UsageError(f"--deployed is for runs on AWS: give --on {AWS}, not {on}")
    backend = ServerBackend(on)
    row = backend.find(name, program.flow)
    asked: dict[str, Any] = {"failed": again.failed or None, "error": again.error}
    asked |= {"from": again.from_stage, "no_cache": again.no_cache or None}
    wanted = {key: value for key, value in asked.items() if value is not None}
    summary, anything = backend.plan(row.id, wanted)
    if options.pop("dry_run"):
        click.echo("\n".join(summary))
        return 0

    def begin(report: LineReport) -> AbstractAsyncContextManager[Handle]:
        if not anything:
            return followed(backend, lambda: row, row, report, backend.result)
        return followed(
            backend, lambda: backend.resume(row.id, wanted), kept(row), report, backend.result
        )

    stages = [Outline(each.name, each.kind == "map") for each in backend.stages(row.flow)]
    return execute(Start(begin, stages, program.at(on), summary), config)
