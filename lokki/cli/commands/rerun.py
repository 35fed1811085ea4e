"""``rerun``: starts a new run with the parameters of an earlier one, some of them changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from lokki.cli import completing
from lokki.cli.command import HELP, Command, call
from lokki.cli.graphs import asked_graph
from lokki.cli.options import HERE_DASK_OR_SERVER, NO_CACHE, config_from, settings
from lokki.cli.parameters import (
    PARAMS,
    option_of,
    options_of,
    secrets_help,
    stored_parameters,
    tag_option,
)
from lokki.cli.program import Program
from lokki.cli.recorded import flow_of, found_run
from lokki.cli.running import run_here, run_there
from lokki.cli.target import Deferred
from lokki.decorators import Flow
from lokki.errors import DefinitionError, ParameterError, ServerError
from lokki.loading import from_here
from lokki.model.run import LOCAL

_HELP = """Start a new run with the parameters of an earlier one.

It uses the current code. Each parameter of the flow is an option, to change it: rerun RUN --help
lists them with the values of that run.
"""
_WRONG = 422
"""The status of an answer about wrong parameters."""
_SETTINGS = [HERE_DASK_OR_SERVER, *settings("logging", "local")]


def command(flow: Flow[..., Any] | None, program: Program) -> click.Command:
    """``rerun RUN`` for the runs of one flow or, with None, of every flow."""

    def rerun(run: str, arguments: tuple[str, ...], **options: Any) -> None:
        if run in HELP["help_option_names"]:
            click.echo(click.get_current_context().get_help())
            return
        if run.startswith("-"):
            raise click.UsageError(f"the run comes first: {program.name} rerun RUN {run}")
        named = bool(arguments) and not arguments[0].startswith("-")
        target, rest = (arguments[0], arguments[1:]) if named else (None, arguments)
        if named and (flow is not None or options["on"] != LOCAL):
            raise click.UsageError(f"leave '{target}' out: the flow's code is where it runs")
        make = _here if options["on"] == LOCAL else _there
        own = make(run, flow, target and from_here(target), program, options)
        call(own, f"{program.name} rerun {run}", list(rest), program)

    run = click.Argument(["run"], metavar="RUN", shell_complete=completing.runs)
    rest = click.Argument(
        ["arguments"],
        nargs=-1,
        type=click.UNPROCESSED,
        metavar="[OPTIONS]" if flow else "[FILE[:flow]|MODULE[:flow]] [OPTIONS]",
    )
    return Deferred(
        "rerun",
        _as_in_text,
        params=[run, rest, *_SETTINGS],
        callback=rerun,
        help=_HELP,
        example="last --limit 5",
        add_help_option=False,
        options_metavar="",
        context_settings={**HELP, "ignore_unknown_options": True},
    )


def _as_in_text(name: str, program: Program) -> click.Command | None:
    """The command with the options of a run's flow, read from the text of its file."""
    flow = completing.flow_of_run(name, program.flow)
    return (
        None
        if flow is None
        else Command(
            "rerun",
            params=[*options_of(flow, [NO_CACHE, *tag_option(flow.parameters)]), *_SETTINGS],
        )
    )


def _here(
    name: str,
    flow: Flow[..., Any] | None,
    target: str | None,
    program: Program,
    options: dict[str, Any],
) -> click.Command:
    """The command whose options are the flow's parameters, with the values of a run here."""
    import anyio

    from lokki.engine.parameters import with_configured_params
    from lokki.store.codec import loads

    run, config = found_run(name, program, options)
    flow = flow or flow_of(run, target, "rerun")
    if run.flow != flow.name:
        raise DefinitionError(f"run {run.id} belongs to flow '{run.flow}', not '{flow.name}'")
    like = loads(anyio.run(with_configured_params, run, config).params)

    def again(
        params: Path | None, no_cache: bool, run_tags: tuple[str, ...] = (), **given: Any
    ) -> None:
        asked = {each: given[each] for each in flow.parameters.names if each in given}
        graph = asked_graph(flow, params, asked, here=True, like=like)
        raise click.exceptions.Exit(
            run_here(graph, config, program, no_cache=no_cache, tags=run_tags)
        )

    about = "\n\n".join(secrets_help(flow))
    return _command(
        run.id,
        run.flow,
        about,
        options_of(flow, [NO_CACHE, *tag_option(flow.parameters)], like=like),
        again,
    )


def _there(
    name: str, flow: object, target: object, program: Program, options: dict[str, Any]
) -> click.Command:
    """The same for a run of a server, which has the flow's code and describes its parameters."""
    from lokki.backends.server import ServerBackend
    from lokki.cli.render.report import Outline
    from lokki.cli.schema import parameters

    program, config = program.at(options["on"]), config_from(options)
    backend = ServerBackend(program.on)
    run = backend.find(name, program.flow)
    described = backend.flow(run.flow)
    like = {
        each: value for each, value in backend.params(run).items() if each not in described.secrets
    }
    known = {each.name: each for each in parameters(described)}

    def again(
        params: Path | None, no_cache: bool, run_tags: tuple[str, ...] = (), **given: Any
    ) -> None:
        stored = {} if params is None else stored_parameters(params)
        asked = {each: given[each] for each in known if given[each] is not None}
        values = {
            each: known[each].value(value) if isinstance(value, str) else value
            for each, value in asked.items()
        }
        try:
            started = backend.start(
                run.flow, like | stored | values, no_cache=no_cache, tags=run_tags
            )
        except ServerError as error:
            if error.status == _WRONG:
                raise ParameterError(str(error)) from None
            raise
        stages = [Outline(each.name, each.kind == "map") for each in described.stages or ()]
        raise click.exceptions.Exit(run_there(backend, lambda: started, stages, config, program))

    as_before = [
        replace(each, required=each.required and each.name not in like, default=like.get(each.name))
        for each in known.values()
    ]
    own = [PARAMS, *map(option_of, as_before), NO_CACHE, *tag_option(known.values())]
    return _command(run.id, run.flow, "", own, again)


def _command(
    run_id: str, flow: str, about: str, options: Sequence[click.Parameter], again: Any
) -> click.Command:
    return Command(
        "rerun",
        params=[*options, *_SETTINGS],
        callback=again,
        help=f"Run {flow} again as in {run_id}, except for the parameters given here.\n\n{about}",
    )
