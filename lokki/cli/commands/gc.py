"""``gc``: removes old runs."""

from __future__ import annotations

import click

from lokki.cli.account import CONFIRM
from lokki.cli.backends import opened
from lokki.cli.command import Command
from lokki.cli.configuration import configured
from lokki.cli.listing import tell_unknown
from lokki.cli.options import FLOW
from lokki.cli.program import Program
from lokki.cli.types import Ago, Number
from lokki.model.run import AWS, LOCAL


@click.command(
    "gc",
    cls=Command,
    example="--older-than 30d --keep 100",
    params=[
        click.Option(
            ["--older-than"], type=Ago(), help="Only runs that ended before then: 30d (ago)."
        ),
        click.Option(
            ["--keep"], type=Number(0), metavar="INT", help="How many of the newest runs to keep."
        ),
        FLOW,
        click.Option(
            ["--cache"],
            is_flag=True,
            help="Remove cached results instead of runs: those that have expired or, with "
            "--older-than, that were made before then (0s: all).",
        ),
        click.Option(
            ["--on"],
            type=click.Choice([LOCAL, AWS]),
            default=LOCAL,
            help="Where the cached results are: this machine, or the bucket on AWS.",
        ),
        click.Option(["--dry-run"], is_flag=True, help="Only show what would be removed."),
        CONFIRM,
    ],
)
@click.pass_obj
def command(
    program: Program,
    /,
    older_than: float | None,
    keep: int | None,
    flow: str | None,
    cache: bool,
    on: str,
    dry_run: bool,
    confirm: bool,
) -> None:
    """Remove old runs and everything stored for them.

    Never removes a run that is still active. Removes a lost one, whose process is gone, and a
    paused one that no process has, only if its last sign of life is older than --older-than. At a
    terminal, asks before it removes runs that could be resumed. Cached
    results do not belong to runs: they stay until --cache removes them.
    """
    if cache:
        _collect_cache(on, flow or (program.flow if on == AWS else None), older_than, keep, dry_run)
        return
    if on == AWS:
        raise click.UsageError("--on aws takes --cache: lokki removes no runs there")
    if older_than is None and keep is None:
        raise click.UsageError("give --older-than 30d, --keep 100, or both, or --cache")
    from lokki.cli.removal import collect

    if flow is not None:
        with opened(LOCAL) as backend:
            tell_unknown(backend, flow)
    collect(configured(), flow or program.flow, older_than, keep, dry_run, confirmed=confirm)


def _collect_cache(
    on: str, flow: str | None, older_than: float | None, keep: int | None, dry_run: bool
) -> None:
    if keep is not None or (flow is not None and on == LOCAL):
        raise click.UsageError("--cache takes --older-than and --dry-run, not --keep or --flow")
    from lokki.cli.removal import collect_cache, collect_cache_on_aws

    if on == LOCAL:
        collect_cache(configured(), older_than, dry_run)
    elif older_than is None:
        raise click.UsageError("give --older-than 30d: on AWS, only a step knows its `cache`")
    else:
        collect_cache_on_aws(configured(), flow, older_than, dry_run)
