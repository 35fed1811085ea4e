"""A flow's parameters as options of its ``run`` command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from lokki.decorators import Flow
from lokki.errors import ParameterError
from lokki.params import Parameter


def options_of(flow: Flow[..., Any]) -> list[click.Parameter]:
    """``--params FILE`` and an option for each parameter, all of them text until validated."""
    file = click.Option(
        ["--params", "params_file"],
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="JSON object with parameters; options win over it.",
    )
    return [file, *map(_option, flow.parameters)]


def _option(parameter: Parameter) -> click.Option:
    default = "" if parameter.required else f"[default: {parameter.default!r}]"
    names = [parameter.option, parameter.name]
    if parameter.is_flag:
        names[0] += f"/--no-{parameter.option[2:]}"
        return click.Option(names, default=None, help=default)
    label = "[required]" if parameter.required else default
    return click.Option(names, default=None, metavar=parameter.type_label.upper(), help=label)


def parameters_from(
    flow: Flow[..., Any], params_file: Path | None, options: dict[str, Any]
) -> dict[str, Any]:
    """The checked parameters of a run. Raises ParameterError, naming every one that is wrong."""
    values: dict[str, Any] = {}
    if params_file is not None:
        try:
            values = json.loads(params_file.read_text())
        except ValueError as error:
            raise ParameterError(f"{params_file} is not JSON: {error}") from None
        if not isinstance(values, dict):
            raise ParameterError(
                f'{params_file} must hold a JSON object such as {{"limit": 5}}, '
                f"not a {type(values).__name__}"
            )
    given = {name: value for name, value in options.items() if value is not None}
    text = [name for name, value in given.items() if isinstance(value, str)]
    return flow.parameters.validate({**values, **given}, text=text)
