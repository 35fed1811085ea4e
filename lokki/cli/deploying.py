"""The commands that change an AWS account: deploy, destroy."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lokki.aws import check_installed
from lokki.cli.graphs import asked_graph
from lokki.cli.options import Command, config_from, options_of, settings
from lokki.cli.program import Program
from lokki.cli.streams import stdout_to_stderr
from lokki.decorators import Flow

if TYPE_CHECKING:
    from rich.console import Console

    from lokki.aws.account import Account, Identity
    from lokki.aws.deploy import Deployed
    from lokki.aws.stack import ChangeSet
    from lokki.config import Config

DEPLOY = """Build a flow and create or update its stack on AWS.

What it changes there is shown before it is done.
"""
DESTROY = """Delete a flow's stack on AWS.

What goes is listed before. Results and packages in the bucket stay, unless --empty-bucket is given.
"""
_STACK = click.Option(
    ["--stack-name"], metavar="NAME", help="Name of the stack.  [default: the flow's]"
)
_CONFIRM = click.Option(["--confirm"], is_flag=True, help="Do not ask.")


def deploy_command(flow: Flow[..., Any], program: Program) -> click.Command:
    def deploy(
        params: Path | None, stack_name: str | None, confirm: bool, force: bool, **options: Any
    ) -> None:
        _check_can_ask(confirm)
        config, console = config_from(options), _console()
        graph = asked_graph(flow, params, options, here=False, whole=False)

        async def deployed() -> Deployed | None:
            from lokki.aws.deploy import deploy

            async with _account(config, console) as (account, who):
                return await deploy(
                    account,
                    who,
                    graph,
                    config,
                    name=stack_name or flow.name,
                    force=force,
                    agree=partial(_agree, console, confirm),
                    tell=partial(console.print, markup=False),
                )

        with stdout_to_stderr():
            done = _run(deployed)
        if done is None:
            raise click.ClickException("nothing is deployed")
        told = "is deployed" if done.changed else "is deployed already, and up to date"
        click.echo(f"{flow.name} {told}: {done.machine}")

    anew = click.Option(
        ["--force"], is_flag=True, help="Build anew, and push, what has not changed."
    )
    own = [_STACK, *settings("aws", "lambda"), _CONFIRM, anew]
    return Command(
        "deploy", params=options_of(flow, own, whole=False), callback=deploy, help=DEPLOY
    )


def destroy_command(flow: Flow[..., Any], program: Program) -> click.Command:
    def destroy(stack_name: str | None, confirm: bool, empty_bucket: bool, **options: Any) -> None:
        _check_can_ask(confirm)
        config, console = config_from(options), _console()

        async def destroyed() -> bool:
            from lokki.aws.bucket import bucket_of
            from lokki.aws.deploy import Target, destroy, doomed
            from lokki.cli.cloud_view import show_doomed

            target = Target(stack_name or flow.name, flow.name, bucket_of(config))
            async with _account(config, console) as (account, who):
                what = await doomed(account, who, target)
                if not what.resources and not (empty_bucket and what.objects):
                    console.print(f"there is no stack '{target.stack}'", markup=False)
                    return True
                show_doomed(what, target, console, empty=empty_bucket)
                if not confirm and not click.confirm("Delete all this?", err=True):
                    return False
                tell = partial(console.print, markup=False)
                await destroy(account, who, what, target, data=empty_bucket, tell=tell)
                return True

        with stdout_to_stderr():
            done = _run(destroyed)
        if not done:
            raise click.ClickException("nothing is destroyed")
        click.echo(f"{flow.name} is not on AWS any more")

    empty = click.Option(
        ["--empty-bucket"],
        is_flag=True,
        help="Delete the flow's results and packages, too, and a bucket that lokki made and that "
        "is empty then.",
    )
    parameters = [_STACK, *settings("aws"), _CONFIRM, empty]
    return Command("destroy", params=parameters, callback=destroy, help=DESTROY)


@asynccontextmanager
async def _account(config: Config, console: Console) -> AsyncIterator[tuple[Account, Identity]]:
    """The configured account, told to the user before anything is done to it."""
    from lokki.aws.account import opened
    from lokki.aws.bucket import bucket_of

    bucket = bucket_of(config)
    async with opened(config) as account:
        who = await account.identity()
        at = f" at {account.endpoint}" if account.endpoint else ""
        console.print(
            f"account {who.account}{at}, {who.region}, as {who.arn}, bucket {bucket}", markup=False
        )
        yield account, who


def _run(work: Callable[[], Any]) -> Any:
    import anyio

    check_installed()
    return anyio.run(work)


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def _agree(console: Console, confirmed: bool, change_set: ChangeSet) -> bool:
    """Show what would be changed, and ask whether it is to be."""
    from lokki.cli.cloud_view import show_changes

    show_changes(change_set, console)
    return confirmed or click.confirm("Make these changes?", err=True)


def _check_can_ask(confirmed: bool) -> None:
    if not confirmed and (sys.stdin is None or not sys.stdin.isatty()):
        raise click.UsageError("there is no terminal to ask at: say --confirm")
