"""What commands are made of: their help, a flow's parameters, settings, what a resume repeats."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

import click

from lokki import logging
from lokki.cli import completing
from lokki.config import KEYS, Config, Logging, load, unknown_variables
from lokki.decorators import Flow
from lokki.errors import ParameterError
from lokki.params import MISSING, Parameter
from lokki.places import AWS, LOCAL
from lokki.secret import Secret, redactable, variable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from lokki.cli.schema import Told
    from lokki.engine.resuming import Again

HELP: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
    "token_normalize_func": lambda name: name.replace("_", "-"),  # --min_size is --min-size
}


class Command(click.Command):
    """A command whose help ends with an example, after the program's own name.

    ``example`` may be a function, for one that takes time to make.
    """

    def __init__(self, *settings: Any, example: str | Callable[[], str] = "", **more: Any) -> None:
        super().__init__(*settings, **{"context_settings": HELP, **more})
        self._example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if any(each.name == "run" and isinstance(each, click.Argument) for each in self.params):
            newest = f"the newest of {ctx.obj.flow or 'any flow'}"
            formatter.write_paragraph()
            formatter.write_text(f"RUN is a run's id, the beginning of it, or 'last', {newest}.")
        formatter.write_paragraph()
        example = self._example if isinstance(self._example, str) else self._example()
        formatter.write(f"Example: {ctx.command_path} {example}".rstrip() + "\n")


def run_parameters(*, required: bool = True) -> list[click.Parameter]:
    """A run as an argument, or as an option, which is the same."""
    return [
        click.Argument(
            ["run"],
            required=False,
            metavar="RUN" if required else "[RUN]",
            shell_complete=completing.runs,
        ),
        click.Option(
            ["--run", "run_option"],
            metavar="RUN",
            help="The same as RUN.",
            shell_complete=completing.runs,
        ),
    ]


PLACES = click.Argument(
    ["places"], nargs=-1, metavar="[FILE|MODULE|DIR]...", shell_complete=completing.targets
)


def run_named(run: str | None, option: str | None, default: str | None = None) -> str:
    """The run that a command line names. Raises UsageError when it names none, or two."""
    if run is not None and option is not None and run != option:
        raise click.UsageError(f"RUN is '{run}' and --run is '{option}': write one of them")
    name = next((each for each in (run, option, default) if each is not None), "")
    if not name:
        raise click.UsageError("Missing argument 'RUN': an id, the beginning of one, or 'last'.")
    return name


_SETTINGS = {
    key.option[2:].replace("-", "_"): name for name, key in KEYS.items() if key.option is not None
}


class _On(click.ParamType[str]):
    """The URL of a server, or one of ``names``."""

    name = "place"

    def __init__(self, *names: str) -> None:
        self._names = names

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self._names and not re.match("https?://[^/]", value):
            self.fail(
                f"'{value}' is neither {' nor '.join(map(repr, self._names))} nor the URL of a "
                "server, such as http://127.0.0.1:8765.",
                param,
                ctx,
            )
        return str(value).rstrip("/")

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(each) for each in self._names if each.startswith(incomplete)]


PLACE = click.Option(
    ["--on"],
    type=_On(LOCAL, AWS),
    default=LOCAL,
    metavar=f"{LOCAL}|{AWS}|URL",
    help=f"Where: this machine, AWS, or a server by its URL.  [default: {LOCAL}]",
)

ANYWHERE = click.Option(
    ["--on"],
    type=_On(LOCAL, AWS),
    metavar=f"{LOCAL}|{AWS}|URL",
    help="Where: this machine, AWS, or a server by its URL.  [default: this machine and, where a "
    "bucket is configured, AWS]",
)

HERE_OR_SERVER = click.Option(
    ["--on"],
    type=_On(LOCAL),
    default=LOCAL,
    metavar=f"{LOCAL}|URL",
    help=f"Where: this machine, or a server by its URL.  [default: {LOCAL}]",
)

JSON = click.Option(["--json", "as_json"], is_flag=True, help="Print JSON, for programs.")


def _setting(name: str) -> click.Option:
    key = KEYS[_SETTINGS[name]]
    told = f"{key.told[0].upper()}{key.told[1:]}; configured as {key.name}."
    return click.Option(["--" + name.replace("_", "-"), name], metavar=key.metavar, help=told)


def settings(*sections: str) -> list[click.Parameter]:
    """The options of the settings in these sections of the configuration."""
    return [_setting(name) for name, key in _SETTINGS.items() if key.partition(".")[0] in sections]


SETTINGS: list[click.Parameter] = [PLACE, *settings("logging", "local")]
"""Options of every command that runs something."""

AGAIN: list[click.Parameter] = [
    click.Option(["--failed"], is_flag=True, help="Also run tolerated failures again."),
    click.Option(
        ["--error"],
        metavar="GROUP",
        help="Also run the tolerated failures of this group again; `show` lists the ids.",
    ),
    click.Option(
        ["--from", "from_stage"], metavar="STAGE", help="Run this stage and all after it again."
    ),
    click.Option(
        ["--force"],
        is_flag=True,
        help="Resume although the flow's structure has changed. Needs --from: results before "
        "that stage are kept.",
    ),
    click.Option(["--dry-run"], is_flag=True, help="Say what would run again, and stop."),
]
"""Options of a resume."""


def config_from(options: dict[str, Any]) -> Config:
    """The configuration with the settings among a command's options, which are taken out."""
    options.pop("on", None)
    given = _SETTINGS.keys() & options.keys()
    return configured({_SETTINGS[name]: options.pop(name) for name in given})


def configured(given: Mapping[str, Any] | None = None) -> Config:
    """The configuration, as `load` has it; a variable that is unknown is told, once."""
    config = load(given)
    _tell_unknown_variables(config.logging)
    return config


@cache
def _tell_unknown_variables(settings: Logging) -> None:
    for told in unknown_variables():
        tell(logging.variable_unknown(told, time()), settings)


def tell(record: logging.Record, settings: Logging) -> None:
    """Write what there is to tell before a run goes on stderr, as its lines are."""
    if logging.reaches(record.level, settings.level):
        line = logging.as_json if settings.format == "json" else logging.human
        click.echo(line(record), err=True)


def again_from(options: dict[str, Any]) -> Again:
    """What a resume does again, of its options, which are taken out."""
    from lokki.engine.resuming import Again

    return Again(
        failed=options.pop("failed"),
        error=options.pop("error"),
        from_stage=options.pop("from_stage"),
        force=options.pop("force"),
    )


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

    That of a secret is there to say that it is none. ``own`` options of a command come last; a
    parameter of the same name has to be given in the file. ``whole``: the required ones are told.
    ``like`` are values of another run, which stand for those that are not given.
    """
    taken = {word for each in own for word in (each.name, *each.opts)}
    free = [each for each in flow.parameters if taken.isdisjoint((each.name, each.option))]
    as_before = [replace(each, default=(like or {}).get(each.name, each.default)) for each in free]
    return [PARAMS, *(option_of(each, whole=whole) for each in as_before), *own]


def missing_secrets(flow: Flow[..., Any]) -> list[str]:
    """The secrets that a run needs and the environment lacks."""
    names = [each.name for each in flow.parameters.secrets]
    return [name for name in names if not os.environ.get(variable(name))]


def ask_for_secrets(flow: Flow[..., Any]) -> dict[str, str]:
    """Ask for the missing secrets, if there is a terminal to ask at."""
    if sys.stdin is None or not sys.stdin.isatty():
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


def told_secrets(flow: Flow[..., Any]) -> list[str]:
    """A line for each secret parameter: where its value comes from."""
    asked = flow.parameters.secrets
    return [
        f"{each.name} is a secret: set {variable(each.name)}"
        + ", or type it when asked" * (each in asked)
        for each in flow.parameters
        if each.is_secret
    ]


def _refuse(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if value is not None:
        name = str(option.name)
        told = f"set {variable(name)}, since others can read command lines"
        raise click.UsageError(f"{option.opts[0]} is a secret: {told}", context)


def option_of(parameter: Parameter | Told, *, whole: bool = True) -> click.Option:
    """The option that a parameter of a flow is."""
    if parameter.is_secret:
        names = [parameter.option, parameter.name]
        return click.Option(names, hidden=True, expose_value=False, callback=_refuse)
    told = f"[default: {parameter.default_text}]" if parameter.default_text else ""
    told = "[required]" if parameter.required and whole else told
    names = [parameter.option, parameter.name]
    if parameter.is_flag:
        return _Flag(names, help=told)
    return click.Option(names, default=None, metavar=parameter.metavar, help=told)


class _Flag(click.Option):
    """``--x`` or ``--no-x``; or ``--x`` with a value, a text until it is validated."""

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


def parameters_from(
    flow: Flow[..., Any],
    file: Path | None,
    options: dict[str, Any],
    *,
    here: bool = True,
    whole: bool = True,
    like: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The checked parameters of a run, missing secrets asked for if it is to run here.

    ``like`` are the parameters of another run, which stand for those that are not given. Elsewhere,
    secrets without a default are left out; if they need not be ``whole``, so is every required one
    that is missing. Raises ParameterError, naming every one that is wrong.
    """
    place = "stdin" if file == Path("-") else str(file)
    stored = {} if file is None else stored_parameters(file)
    for name in stored:
        if any(each.is_secret and each.name == name for each in flow.parameters):
            raise ParameterError(
                f"{place}: parameter '{name}' is a secret: set {variable(name)} instead"
            )
    given = {name: value for name, value in options.items() if value is not None}
    text = [name for name, value in given.items() if isinstance(value, str)]
    values = {**stored, **given, **(ask_for_secrets(flow) if here else {})}
    left = [] if here else flow.parameters.secrets
    if not whole:
        left = [each for each in flow.parameters if each.required]
    lacking = {**dict.fromkeys((each.name for each in left), MISSING), **(like or {})}
    origins = dict.fromkeys(stored.keys() - given.keys(), place)
    checked = flow.parameters.validate(values, text=text, checked=lacking, origins=origins)
    return {name: value for name, value in checked.items() if value is not MISSING}


def stored_parameters(file: Path) -> dict[str, Any]:
    """What a file of parameters holds. Raises ParameterError."""
    place = "stdin" if file == Path("-") else str(file)
    try:
        text = (sys.stdin and sys.stdin.read()) if file == Path("-") else file.read_text()
        values = json.loads(text or "")
    except ValueError as error:
        raise ParameterError(f"{place} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ParameterError(
            f'{place} must hold a JSON object such as {{"limit": 5}}, not a {type(values).__name__}'
        )
    return values
