"""The parameters of a flow as options: their help, and their values on a command line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lokki.cli.options import TAG
from lokki.cli.streams import can_ask
from lokki.decorators import Flow
from lokki.errors import ParameterError
from lokki.params import MISSING, Parameter
from lokki.secret import Secret, redactable, variable

if TYPE_CHECKING:
    from lokki.cli.schema import SchemaParameter

PARAMS = click.Option(
    ["--params"],
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    metavar="FILE",
    help="JSON object with parameters (-: from stdin); options win over it.",
)


def options_of(
    flow: Flow[..., Any],
    own: Sequence[click.Parameter] = (),
    *,
    whole: bool = True,
    like: Mapping[str, Any] | None = None,
) -> list[click.Parameter]:
    """``--params FILE`` and an option for each parameter, all of them text until validated.

    A secret's option only says what to do instead. A command's ``own`` options come last; a
    parameter of the same name must be given in the file. ``whole``: required ones are marked.
    ``like`` are values of another run, used for parameters that are not given.
    """
    taken = {word for each in own for word in (each.name, *each.opts)}
    free = [each for each in flow.parameters if taken.isdisjoint((each.name, each.option))]
    as_before = [replace(each, default=(like or {}).get(each.name, each.default)) for each in free]
    return [PARAMS, *(option_of(each, whole=whole) for each in as_before), *own]


def tag_option(parameters: Iterable[Parameter | SchemaParameter]) -> list[click.Parameter]:
    """``--tag``, unless a parameter of the flow has this name."""
    taken = {word for each in parameters for word in (each.name, each.option)}
    return [TAG] if taken.isdisjoint((TAG.name, *TAG.opts)) else []


def option_of(parameter: Parameter | SchemaParameter, *, whole: bool = True) -> click.Option:
    """The option for a parameter of a flow."""
    if parameter.is_secret:
        names = [parameter.option, parameter.name]
        return click.Option(names, hidden=True, expose_value=False, callback=_refuse)
    about = f"[default: {parameter.default_text}]" if parameter.default_text else ""
    about = "[required]" if parameter.required and whole else about
    names = [parameter.option, parameter.name]
    if parameter.is_flag:
        return _Flag(names, help=about)
    return click.Option(names, default=None, metavar=parameter.metavar, help=about)


class _Flag(click.Option):
    """``--x`` or ``--no-x``; or ``--x`` with a value, text until validated."""

    def __init__(self, names: list[str], **settings: Any) -> None:
        super().__init__(
            names, is_flag=False, flag_value=True, type=click.UNPROCESSED, default=None, **settings
        )
        self._off = f"--no-{names[0][2:]}"

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        super().add_to_parser(parser, ctx)
        parser.add_option(self, [self._off], self.name, action="store_const", const=False)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        return f"{self.opts[0]} / {self._off}", self.help or ""


def _refuse(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if value is not None:
        name = str(option.name)
        instead = f"set {variable(name)}, since others can read command lines"
        raise click.UsageError(f"{option.opts[0]} is a secret: {instead}", context)


def missing_secrets(flow: Flow[..., Any]) -> list[str]:
    """The secrets that a run needs and the environment lacks."""
    names = [each.name for each in flow.parameters.secrets]
    return [name for name in names if not os.environ.get(variable(name))]


def ask_for_secrets(flow: Flow[..., Any]) -> dict[str, str]:
    """Ask for the missing secrets, if there is a terminal to ask at."""
    if not can_ask():
        return {}
    asked = {
        name: click.prompt(
            f"{name} (not shown; {variable(name)} sets it, too)", hide_input=True, err=True
        )
        for name in missing_secrets(flow)
    }
    from lokki import output

    output.mask(redactable(map(Secret, asked.values())))
    return asked


def secrets_help(flow: Flow[..., Any]) -> list[str]:
    """A line for each secret parameter: where its value comes from."""
    asked = flow.parameters.secrets
    return [
        f"{each.name} is a secret: set {variable(each.name)}"
        + ", or type it when asked" * (each in asked)
        for each in flow.parameters
        if each.is_secret
    ]


def parameters_from(
    flow: Flow[..., Any],
    file: Path | None,
    options: dict[str, Any],
    *,
    here: bool = True,
    whole: bool = True,
    like: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The checked parameters of a run; if it runs ``here``, asks for missing secrets.

    ``like`` are the parameters of another run, used for those that are not given. Elsewhere,
    secrets without a default are left out; if the parameters need not be ``whole``, so are missing
    required ones. Raises ParameterError, naming each wrong parameter.
    """
    source = "stdin" if file == Path("-") else str(file)
    stored = {} if file is None else stored_parameters(file)
    for name in stored:
        if any(each.is_secret and each.name == name for each in flow.parameters):
            raise ParameterError(
                f"{source}: parameter '{name}' is a secret: set {variable(name)} instead"
            )
    given = {name: value for name, value in options.items() if value is not None}
    text = [name for name, value in given.items() if isinstance(value, str)]
    values = {**stored, **given, **(ask_for_secrets(flow) if here else {})}
    left = [] if here else flow.parameters.secrets
    if not whole:
        left = [each for each in flow.parameters if each.required]
    lacking = {**dict.fromkeys((each.name for each in left), MISSING), **(like or {})}
    origins = dict.fromkeys(stored.keys() - given.keys(), source)
    checked = flow.parameters.validate(values, text=text, checked=lacking, origins=origins)
    return {name: value for name, value in checked.items() if value is not MISSING}


def stored_parameters(file: Path) -> dict[str, Any]:
    """The parameters in a file. Raises ParameterError."""
    source = "stdin" if file == Path("-") else str(file)
    try:
        text = (sys.stdin and sys.stdin.read()) if file == Path("-") else file.read_text()
        values = json.loads(text or "")
    except ValueError as error:
        raise ParameterError(f"{source} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ParameterError(
            f'{source} must hold a JSON object such as {{"limit": 5}}, '
            f"not a {type(values).__name__}"
        )
    return values
