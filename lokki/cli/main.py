"""The commands: ``main_of(flow)`` for ``python flow.py …`` and ``cli`` for ``lokki …``."""

from __future__ import annotations

import errno
import io
import os
import shlex
import sys
from dataclasses import replace
from inspect import cleandoc
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.exceptions import NoArgsIsHelpError, NoSuchCommand

from lokki.cli import completing
from lokki.cli.cloud import BUILD, PLAN, REHEARSE, MakeCommand
from lokki.cli.cloud import COMMANDS as CLOUD
from lokki.cli.commands import COMMANDS
from lokki.cli.completion import completion
from lokki.cli.deploying import DEPLOY, DESTROY
from lokki.cli.exits import exits_told
from lokki.cli.invoking import INVOKE, invoked, resume_on_aws
from lokki.cli.load import (
    LoadError,
    NotThere,
    alias_main,
    alias_source,
    from_here,
    load_flow,
    traced,
)
from lokki.cli.offered import COMMANDS as OFFERED
from lokki.cli.options import (
    AGAIN,
    HELP,
    SETTINGS,
    Command,
    again_from,
    ask_for_secrets,
    asked_graph,
    config_from,
    missing_secrets,
    options_of,
    run_named,
    run_parameters,
    told_secrets,
)
from lokki.cli.program import Program
from lokki.cli.pulling import pull_command, push
from lokki.cli.result import result
from lokki.cli.resuming import to_resume
from lokki.cli.serve import serve
from lokki.cli.streams import stdout_to_stderr
from lokki.config import Config, journal_path
from lokki.decorators import Flow
from lokki.engine.importing import check_may_run
from lokki.errors import ConfigError, DefinitionError, LokkiError, ParameterError
from lokki.places import AWS, LOCAL

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from lokki.cli.execute import Handle
    from lokki.cli.report import LineReport
    from lokki.store.history import Run

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of writing where nothing more can be written."""
_MEANT = {
    "start": "run", "retry": "resume", "rerun": "resume", "stop": "cancel", "kill": "cancel",
    "list": "runs", "ls": "runs", "history": "runs", "status": "show",
    "rm": "gc", "delete": "gc", "clean": "gc",
}  # fmt: skip
"""What other programs call our commands."""
_NEVER_GUESSED = ("destroy",)
"""Commands that are too grave to be named for another word."""


def main_of(flow: Flow[..., Any]) -> NoReturn:
    """What `lokki.main` does."""
    if not isinstance(flow, Flow):
        raise DefinitionError(f"main() wants a flow, not {flow!r}: decorate a function with @flow")
    check_may_run()
    alias_main()
    program = Program(f"python {shlex.quote(sys.argv[0])}", flow.name)
    group = _Group(help=flow.__doc__ or f"Run the flow {flow.name}.", example="run")
    group.add_command(_run_command("run", flow, program))

    @group.command("resume", params=[*run_parameters(), *AGAIN, *SETTINGS], example="last --failed")
    def resume(run: str | None, run_option: str | None, **options: Any) -> None:
        """Go on with a run that was interrupted or failed.

        Results are kept; the rest runs with the code as it is now.
        """
        name = run_named(run, run_option)
        if options["on"] != LOCAL:
            raise click.exceptions.Exit(_resume_elsewhere(name, program, options))
        found, config = to_resume(name, program, options)
        raise click.exceptions.Exit(_resume(found, flow, program, config, options))

    pull = pull_command(lambda: flow, [])
    _start(group, program, *(make(flow, program) for make in CLOUD.values()), pull, push)


class _Group(Command, click.Group):
    """A group that exits with 1 for no command and for an unknown one, after its usage."""

    command_class = Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except NoArgsIsHelpError as error:
            vars(error)["exit_code"] = 1
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            vars(error)["exit_code"] = 1
            if isinstance(error, NoSuchCommand) and error.command_name in _MEANT:
                near = [_MEANT[error.command_name], *(error.possibilities or ())]
                likely = dict.fromkeys(each for each in near if each not in _NEVER_GUESSED)
                vars(error)["possibilities"] = list(likely)
            raise


def entry_point() -> NoReturn:
    """The console script ``lokki``."""
    cloud = (_on_target(name, *about) for name, about in _CLOUD.items())
    pull = pull_command(load_flow, [_target()])
    _start(_cli, Program("lokki"), *OFFERED, *cloud, pull, push, serve, completion)


def _start(group: click.Group, program: Program, *own: click.Command) -> NoReturn:
    """Run a command; our errors are told in words, without a traceback, and so is a full disk."""
    for command in (*COMMANDS, result, *own):
        group.add_command(command)
    if completing.VARIABLE in os.environ:
        from lokki.cli.shells import complete

        complete(group, program, os.environ[completing.VARIABLE])
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    code = 0
    try:
        with exits_told(lambda message: click.echo(f"Error: {message}", err=True)):
            code = _exit_code(group, program)
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        seen_enough = isinstance(error, BrokenPipeError)
        if not seen_enough and error.errno not in _FULL:
            raise
        if not seen_enough and not code:
            click.echo(f"Error: the output cannot be written: {error.strerror}", err=True)
            code = 1
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(code)


def _exit_code(group: click.Group, program: Program) -> int:
    try:
        _invoke(group, program.name, sys.argv[1:], program)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt, EOFError):
        return 130
    except LoadError as error:
        click.echo(f"{error.traceback}Error: {error}", err=True)
        return 2 if isinstance(error, NotThere) else 1
    except LokkiError as error:
        click.echo(f"Error: {error}", err=True)
        return 2 if isinstance(error, DefinitionError | ParameterError | ConfigError) else 1
    return 0


def _invoke(command: click.Command, name: str, arguments: list[str], program: Program) -> None:
    """As click's own main, which however takes a closed pipe for a failure."""
    with command.make_context(name, arguments, obj=program) as context:
        command.invoke(context)


def _run_command(name: str, flow: Flow[..., Any], program: Program) -> click.Command:
    def run(params: Path | None, **options: Any) -> None:
        on, config = options.pop("on"), config_from(options)
        graph = asked_graph(flow, params, options, here=on == LOCAL)
        if on == AWS:
            raise click.exceptions.Exit(invoked(graph, config, program, None, wait=True))
        from lokki.cli.execute import Start, execute, in_engine
        from lokki.cli.report import outlines

        def begin(report: LineReport) -> AbstractAsyncContextManager[Handle]:
            if on == LOCAL:
                started_by = _command_line(program)
                return in_engine(
                    lambda engine: engine.submit(graph, started_by=started_by),
                    graph,
                    config,
                    report,
                )
            from lokki.cli.follow import followed
            from lokki.places.server import ServerPlace

            place, given = ServerPlace(on), flow.parameters.given(graph.params)
            return followed(
                place, lambda: place.start(flow.name, given), None, report, place.result
            )

        start = Start(begin, outlines(graph), program.at(on))
        raise click.exceptions.Exit(execute(start, config))

    told = [f"Run {flow.name} and print its result.", cleandoc(flow.__doc__ or "")]
    needed = [each for each in flow.parameters if each.required and not each.is_secret]
    return Command(
        name,
        params=[*options_of(flow), *SETTINGS],
        callback=run,
        help="\n\n".join([*told, *told_secrets(flow)]),
        example=lambda: " ".join(each.example for each in needed),
    )


def _command_line(program: Program) -> str:
    return f"{program.name} {shlex.join(sys.argv[1:])}"


def _resume(
    run: Run, flow: Flow[..., Any], program: Program, config: Config, options: dict[str, Any]
) -> int:
    """Say what a resume will do again, and do it unless it is a dry run."""
    again, dry_run = again_from(options), options.pop("dry_run")
    from lokki.cli.execute import Start, execute, in_engine
    from lokki.cli.report import outlines
    from lokki.engine.engine import resumed_graph
    from lokki.engine.resuming import plan
    from lokki.engine.surroundings import other_python
    from lokki.store.history import read_history
    from lokki.store.leases import is_worked_on

    with read_history(journal_path(config)) as history:
        row = history.find(run.id)
        if is_worked_on(row, time()):
            _refuse_worked_on(row, config)
        # Secrets are asked for last: what is wrong, or done already, needs none.
        hidden = dry_run or bool(missing_secrets(flow))
        graph = traced(flow, lambda: resumed_graph(row, flow, {}, to_run=not hidden))
        planned = plan(history, row, graph, again)
        done = row.status == "succeeded" and planned.reopening is None
        if hidden and not dry_run and not done:
            secrets = ask_for_secrets(flow)
            graph = traced(flow, lambda: resumed_graph(row, flow, secrets))
            planned = replace(planned, graph=graph)
    if dry_run:
        click.echo("\n".join(planned.told))
        return 0

    def begin(report: LineReport) -> AbstractAsyncContextManager[Handle]:
        started_by = _command_line(program)
        return in_engine(
            lambda engine: engine.resume_as(planned, started_by=started_by),
            planned.graph,
            config,
            report,
        )

    start = Start(begin, outlines(planned.graph), program, planned.told, other_python(run))
    return execute(start, config)


def _refuse_worked_on(run: Run, config: Config) -> None:
    """Refuse to resume a run that a process may be at work on, for no longer than a lease."""
    from contextlib import closing

    from lokki.store.journal import Journal

    with closing(Journal(journal_path(config))) as journal:
        journal.refuse_worked_on(run.id, time()).result()


def _resume_elsewhere(name: str, program: Program, options: dict[str, Any]) -> int:
    on_aws = options["on"] == AWS
    return (resume_on_aws if on_aws else _resume_on_server)(name, program, options)


def _resume_on_server(name: str, program: Program, options: dict[str, Any]) -> int:
    """As `_resume`, of a run of a server, with the code that the server has."""
    from lokki.cli.execute import Start, execute
    from lokki.cli.follow import followed
    from lokki.cli.report import Outline
    from lokki.places.changes import kept
    from lokki.places.server import ServerPlace

    on, config, again = options.pop("on"), config_from(options), again_from(options)
    if again.force:
        raise click.UsageError(f"--force is for runs of this machine, not for those of {on}")
    place = ServerPlace(on)
    row = place.find(name, program.flow)
    asked = {"failed": again.failed or None, "error": again.error, "from": again.from_stage}
    wanted = {key: value for key, value in asked.items() if value is not None}
    told, anything = place.plan(row["id"], wanted)
    if options.pop("dry_run"):
        click.echo("\n".join(told))
        return 0

    def begin(report: LineReport) -> AbstractAsyncContextManager[Handle]:
        if not anything:
            return followed(place, lambda: row, row, report, place.result)
        return followed(
            place, lambda: place.resume(row["id"], wanted), kept(row), report, place.result
        )

    stages = [Outline(each["name"], each["kind"] == "map") for each in place.stages(row["flow"])]
    return execute(Start(begin, stages, program.at(on), told), config)


@click.group("lokki", cls=_Group, example="run birds.py")
@click.version_option(package_name="lokki", message="lokki %(version)s")
def _cli() -> None:
    """Run flows: map a function over ten thousand things, durably."""


def _target(metavar: str = "FILE[:flow]|MODULE[:flow]", *, required: bool = True) -> click.Argument:
    return click.Argument(
        ["target"], metavar=metavar, required=required, shell_complete=completing.targets
    )


_TARGET: dict[str, Any] = {
    "add_help_option": False,
    "options_metavar": "",
    "context_settings": {"ignore_unknown_options": True, "allow_interspersed_args": False},
}
"""A command whose options are known once its flow is."""


class _OnTarget(Command):
    """A command for which ``make`` makes the flow's own; shells complete that one's options."""

    def __init__(self, name: str, make: MakeCommand, **settings: Any) -> None:
        super().__init__(name, **settings)
        self._make = make

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> click.Context:
        completed = extra.get("resilient_parsing") and args
        flow = completing.flow_in_text(args[0]) if completed else None
        if flow is None:
            return super().make_context(info_name, args, parent, **extra)
        own = self._make(flow, parent.obj)
        return own.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)


def _on_target(name: str, example: str, told: str, make: MakeCommand) -> click.Command:
    """``lokki NAME FILE[:flow] [OPTIONS]``, for which ``make`` makes the flow's own command."""

    def command(target: str, arguments: tuple[str, ...]) -> None:
        if target in HELP["help_option_names"]:
            context = click.get_current_context()
            click.echo(context.get_help())
            return
        if target.startswith("-"):
            raise click.UsageError(f"the file comes first: lokki {name} FILE {target}")
        with stdout_to_stderr():
            flow = load_flow(target)
        program = Program("lokki")
        _invoke(make(flow, program), f"lokki {name} {target}", list(arguments), program)

    options = click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS]")
    return _OnTarget(
        name,
        make,
        params=[_target(), options],
        callback=command,
        example=example,
        help=told,
        **_TARGET,
    )


_CLOUD = {
    "build": ("birds.py", BUILD, CLOUD["build"]),
    "rehearse": ("birds.py --limit 5", REHEARSE, CLOUD["rehearse"]),
    "plan": ("birds.py --items 10000", PLAN, CLOUD["plan"]),
    "deploy": ("birds.py", DEPLOY, CLOUD["deploy"]),
    "invoke": ("birds.py --limit 5", INVOKE, CLOUD["invoke"]),
    "destroy": ("birds.py", DESTROY, CLOUD["destroy"]),
}
_cli.add_command(
    _on_target(
        "run",
        "birds.py --limit 5",
        "Run a flow and print its result.\n\nHere, or on a server (--on URL). Each parameter of "
        "the flow is an option: lokki run FILE --help lists them.",
        lambda flow, program: _run_command("run", flow, program),
    )
)


@_cli.command(
    "resume",
    params=[
        *run_parameters(),
        _target("[FILE[:flow]|MODULE[:flow]]", required=False),
        *AGAIN,
        *SETTINGS,
    ],
    example="last --failed",
)
@click.pass_obj
def _cli_resume(
    program: Program,
    /,
    run: str | None,
    run_option: str | None,
    target: str | None,
    **options: Any,
) -> None:
    """Go on with a run that was interrupted or failed.

    Results are kept; the rest runs with the code as it is now, in the file that the run was
    started from or in FILE.
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
    found, config = to_resume(run_named(run, run_option), program, options)
    if target is None:
        target = _source(found)
    try:
        with stdout_to_stderr():
            flow = load_flow(target)
    except NotThere:
        raise
    except LoadError as error:
        from lokki.engine.surroundings import other_python

        hint = isinstance(error.__cause__, ImportError) and other_python(found)
        raise LoadError(f"{error}; {hint}" if hint else str(error), error.traceback) from error
    if found.source is not None:
        alias_source(found.source, flow)
    raise click.exceptions.Exit(_resume(found, flow, program, config, options))


def _source(run: Run) -> str:
    """The file and the flow that a run was started from. Raises NotThere."""
    hint = f"say where its flow is: lokki resume {run.id} FILE"
    if run.source is None:
        raise NotThere(f"run {run.id} was not started from a file; {hint}")
    file = run.source.rpartition(":")[0]
    if not Path(file).is_file():
        raise NotThere(f"the file that run {run.id} was started from ({file}) is gone; {hint}")
    return run.source
