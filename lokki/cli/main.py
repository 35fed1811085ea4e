"""The commands: ``main(flow)`` for ``python flow.py …`` and ``cli`` for ``lokki …``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from lokki.cli.load import LoadError, alias_main, alias_source, load_flow
from lokki.cli.options import options_of, parameters_from
from lokki.cli.streams import stdout_to_stderr
from lokki.decorators import Flow
from lokki.errors import DefinitionError, LokkiError

_HELP = {"help_option_names": ["-h", "--help"]}


def main(flow: Flow[..., Any]) -> NoReturn:
    """The command line of a flow's own script: ``python birds.py run [--param value …]``.

    Reads ``sys.argv`` and exits: 0 done, 1 the run failed or the command is unknown, 2 wrong
    usage, 130 interrupted. The flow's result is printed on stdout, everything else on stderr.
    """
    if not isinstance(flow, Flow):
        raise DefinitionError(f"main() wants a flow, not {flow!r}: decorate a function with @flow")
    alias_main()
    program = f"python {shlex.quote(sys.argv[0])}"
    group = _Group(1, help=flow.__doc__ or f"Run the flow {flow.name}.", context_settings=_HELP)
    group.add_command(_run_command("run", flow, f"{program} resume"))

    @group.command("resume")
    @click.argument("run")
    def resume(run: str) -> None:
        """Go on with a run that was interrupted or failed: RUN is its id, a prefix, or 'last'."""
        sys.exit(_resume(run, flow, f"{program} resume"))

    _start(group, program, sys.argv[1:])


class _Group(click.Group):
    """A group that exits with ``unknown_code`` for an unknown command, after its usage."""

    def __init__(self, unknown_code: int, **settings: Any) -> None:
        super().__init__(**settings)
        self._unknown_code = unknown_code

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            vars(error)["exit_code"] = self._unknown_code
            raise


def entry_point() -> NoReturn:
    """The console script ``lokki``."""
    _start(_cli, "lokki", sys.argv[1:])


def _start(group: click.Group, program: str, arguments: list[str]) -> NoReturn:
    """Run a command; our errors are told in words, without a traceback."""
    try:
        code = group.main(arguments, prog_name=program, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except LoadError as error:
        click.echo(f"{error.traceback}Error: {error}", err=True)
        sys.exit(1)
    except LokkiError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2 if isinstance(error, DefinitionError) else 1)
    sys.exit(code if isinstance(code, int) else 0)


def _run_command(name: str, flow: Flow[..., Any], again: str) -> click.Command:
    def run(params_file: Path | None, **options: Any) -> None:
        try:
            with stdout_to_stderr():
                graph = flow.trace(parameters_from(flow, params_file, options))
        except LokkiError as error:
            raise click.UsageError(str(error)) from error
        from lokki.cli.execute import execute
        from lokki.engine.engine import Engine, RunHandle

        async def start(engine: Engine) -> RunHandle[Any]:
            return engine.submit(graph)

        sys.exit(execute(start, again))

    return click.Command(
        name,
        params=options_of(flow),
        callback=run,
        help=f"Run {flow.name} here and print its result.",
        context_settings=_HELP,
    )


def _resume(run: str, flow: Flow[..., Any], again: str) -> int:
    from lokki.cli.execute import execute
    from lokki.engine.engine import Engine, RunHandle

    async def start(engine: Engine) -> RunHandle[Any]:
        return await engine.resume(engine.journal.find(run).id, flow)

    return execute(start, again)


@click.group("lokki", cls=_Group, unknown_code=2, context_settings=_HELP)
@click.version_option(package_name="lokki", message="lokki %(version)s")
def _cli() -> None:
    """Map a function over ten thousand things, durably, here or in the cloud."""


@_cli.command(
    "run",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("target", metavar="FILE[:flow]|MODULE[:flow]")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def _cli_run(target: str, arguments: tuple[str, ...]) -> None:
    """Run a flow here and print its result, such as: lokki run birds.py --limit 5"""
    if target in _HELP["help_option_names"]:
        context = click.get_current_context()
        click.echo(context.get_help())
        return
    with stdout_to_stderr():
        flow = load_flow(target)
    command = _run_command("run", flow, "lokki resume")
    command.main(list(arguments), prog_name=f"lokki run {target}", standalone_mode=False)


@_cli.command("resume")
@click.argument("run")
@click.argument("target", metavar="[FILE[:flow]|MODULE[:flow]]", required=False)
def _cli_resume(run: str, target: str | None) -> None:
    """Go on with a run that was interrupted or failed.

    RUN is its id, a prefix of it, or 'last'. The flow is loaded from where it was, or from FILE.
    """
    run, source = _recorded(run)
    if target is None:
        hint = f"say where its flow is: lokki resume {run} FILE"
        if source is None:
            raise LoadError(f"run {run} was not started from a file; {hint}")
        file = source.rpartition(":")[0]
        if not Path(file).is_file():
            raise LoadError(f"the file that run {run} was started from ({file}) is gone; {hint}")
        target = source
    with stdout_to_stderr():
        flow = load_flow(target)
    if source is not None:
        alias_source(source, flow)
    sys.exit(_resume(run, flow, "lokki resume"))


def _recorded(run: str) -> tuple[str, str | None]:
    """The id and the source of a run; found before its file is loaded, which may start others."""
    from contextlib import closing

    from lokki.config import journal_path
    from lokki.store.journal import Journal

    with closing(Journal(journal_path())) as journal:
        row = journal.find(run)
    return row.id, row.source
