"""Options of several commands, and what they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lokki.cli import completing
from lokki.cli.configuration import configured
from lokki.cli.types import Number, On, Tag, cluster_of
from lokki.config import KEYS, Config
from lokki.model.run import AWS, LOCAL

if TYPE_CHECKING:
    from lokki.resumption import ResumeOptions


def run_parameters(*, required: bool = True) -> list[click.Parameter]:
    """A run, as an argument or as the equivalent option."""
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


SOURCES = click.Argument(
    ["sources"], nargs=-1, metavar="[FILE|MODULE|DIR]...", shell_complete=completing.targets
)


def run_named(run: str | None, option: str | None, default: str | None = None) -> str:
    """The run that a command line names. Raises UsageError for none or two."""
    if run is not None and option is not None and run != option:
        raise click.UsageError(f"RUN is '{run}' and --run is '{option}': give one of them")
    name = next((each for each in (run, option, default) if each is not None), "")
    if not name:
        raise click.UsageError("Missing argument 'RUN': an id, the beginning of one, or 'last'.")
    return name


_SETTINGS = {
    key.option[2:].replace("-", "_"): name for name, key in KEYS.items() if key.option is not None
}
ON = click.Option(
    ["--on"],
    type=On(LOCAL, AWS, clusters=True),
    default=LOCAL,
    metavar=f"{LOCAL}|{AWS}|URL|dask=ADDRESS",
    help="Where: this machine, AWS, a server by its URL, or here with the workers of a Dask "
    f"scheduler, as dask=tcp://scheduler:8786.  [default: {LOCAL}]",
)
HERE_DASK_OR_SERVER = click.Option(
    ["--on"],
    type=On(LOCAL, clusters=True),
    default=LOCAL,
    metavar=f"{LOCAL}|URL|dask=ADDRESS",
    help="Where: this machine, a server by its URL, or here with the workers of a Dask scheduler, "
    f"as dask=tcp://scheduler:8786.  [default: {LOCAL}]",
)
ANYWHERE = click.Option(
    ["--on"],
    type=On(LOCAL, AWS),
    metavar=f"{LOCAL}|{AWS}|URL",
    help="Where: this machine, AWS, or a server by its URL.  [default: this machine and, where a "
    "bucket is configured, AWS]",
)
HERE_OR_SERVER = click.Option(
    ["--on"],
    type=On(LOCAL),
    default=LOCAL,
    metavar=f"{LOCAL}|URL",
    help=f"Where: this machine, or a server by its URL.  [default: {LOCAL}]",
)
NO_CACHE = click.Option(
    ["--no-cache"],
    is_flag=True,
    help="Make every call of steps with cache=…, and replace their cached results.",
)
TAG = click.Option(
    ["--tag", "run_tags"],
    type=Tag(),
    multiple=True,
    metavar="TAG",
    help="A word to find the run by; may be repeated.",
)
JSON = click.Option(["--json", "as_json"], is_flag=True, help="Print JSON, for programs.")
FLOW = click.Option(
    ["--flow"],
    metavar="NAME",
    help="Only runs of this flow.",
    shell_complete=completing.flow_names,
)
COUNT = click.Option(
    ["-n", "--n", "count"],
    type=Number(1),
    default=20,
    metavar="INT",
    help="Most runs to list.  [default: 20]",
)


def _setting(name: str) -> click.Option:
    key = KEYS[_SETTINGS[name]]
    about = f"{key.description[0].upper()}{key.description[1:]}; configured as {key.name}."
    return click.Option(["--" + name.replace("_", "-"), name], metavar=key.metavar, help=about)


def settings(*sections: str) -> list[click.Parameter]:
    """The options of the settings in these sections of the configuration."""
    return [_setting(name) for name, key in _SETTINGS.items() if key.partition(".")[0] in sections]


SETTINGS: list[click.Parameter] = [ON, *settings("logging", "local")]
"""Options of every command that runs something."""
AGAIN: list[click.Parameter] = [
    click.Option(["--failed"], is_flag=True, help="Also run tolerated failures again."),
    click.Option(
        ["--error"],
        metavar="GROUP",
        help="Also run the tolerated failures of this group again; `show` lists the ids.",
    ),
    click.Option(
        ["--from", "from_stage"], metavar="STAGE", help="Run this stage and all later ones again."
    ),
    click.Option(
        ["--force"],
        is_flag=True,
        help="Resume although the flow's structure has changed. Needs --from; results before that "
        "stage are kept.",
    ),
    click.Option(
        ["--deployed"],
        is_flag=True,
        help="On AWS: continue in a new run with the code that is deployed now.",
    ),
    NO_CACHE,
    click.Option(["--dry-run"], is_flag=True, help="Only show what would run again."),
]
"""Options of a resume."""


def again_from(options: dict[str, Any]) -> ResumeOptions:
    """What a resume runs again, taken out of its options."""
    from lokki.resumption import ResumeOptions

    return ResumeOptions(
        failed=options.pop("failed"),
        error=options.pop("error"),
        from_stage=options.pop("from_stage"),
        force=options.pop("force"),
        deployed=options.pop("deployed"),
        no_cache=options.pop("no_cache"),
    )


def config_from(options: dict[str, Any]) -> Config:
    """The configuration with the settings taken out of a command's options."""
    options.pop("on", None)
    given = {_SETTINGS[name]: options.pop(name) for name in _SETTINGS.keys() & options.keys()}
    cluster = cluster_of(click.get_current_context(silent=True))
    return configured(given if cluster is None else {**given, "local.cluster": cluster})
