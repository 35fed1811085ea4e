"""The commands that change an AWS account: deploy, destroy."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from lokki.cli.load import traced
from lokki.cli.options import Command
from lokki.cli.program import Program
from lokki.cli.streams import stdout_to_stderr
from lokki.config import Config, load
from lokki.decorators import Flow
from lokki.errors import AwsError

if TYPE_CHECKING:
    from rich.console import Console

    from lokki.aws.account import Identity
    from lokki.aws.deploy import Deployed, Doomed
    from lokki.aws.stack import ChangeSet

DEPLOY = """Build a flow and create or update its stack on AWS.

What it changes there is shown before it is done.
"""
DESTROY = """Delete a flow's stack on AWS.

What goes is listed before. Results and packages in the bucket stay, unless --empty-bucket is given.
"""
_SETTINGS = {
    "region": "aws.region",
    "endpoint": "aws.endpoint",
    "image_tag": "lambda.image_tag",
}
_WHERE: list[click.Parameter] = [
    click.Option(
        ["--stack-name"], metavar="NAME", help="Name of the stack.  [default: the flow's]"
    ),
    click.Option(["--region"], metavar="REGION", help="AWS region; configured as aws.region."),
    click.Option(
        ["--endpoint"], metavar="URL", help="An emulator's URL; configured as aws.endpoint."
    ),
]
_CONFIRM = click.Option(["--confirm"], is_flag=True, help="Do not ask.")


def deploy_command(flow: Flow[..., Any], program: Program) -> click.Command:
    def deploy(stack_name: str | None, confirm: bool, **options: Any) -> None:
        _check_can_ask(confirm)
        config = _config(options)
        graph = traced(flow, flow.outline)
        console = _console()

        async def deployed() -> Deployed | None:
            from lokki.aws.account import opened
            from lokki.aws.deploy import bucket_of, deploy

            bucket = bucket_of(config)
            async with opened(config) as account:
                who = await account.identity()
                _show_account(console, who, config, bucket)
                return await deploy(
                    account,
                    who,
                    graph,
                    config,
                    name=stack_name or flow.name,
                    agree=partial(_agree, console, confirm),
                    tell=partial(console.print, markup=False),
                )

        with stdout_to_stderr():
            done = _run(deployed)
        if done is None:
            raise click.ClickException("nothing is deployed")
        told = "is deployed" if done.changed else "is deployed already, and up to date"
        click.echo(f"{flow.name} {told}: {done.machine}")

    tag = click.Option(
        ["--image-tag"], metavar="TAG", help="Tag of the image; configured as lambda.image_tag."
    )
    return Command("deploy", params=[*_WHERE, tag, _CONFIRM], callback=deploy, help=DEPLOY)


def destroy_command(flow: Flow[..., Any], program: Program) -> click.Command:
    def destroy(stack_name: str | None, confirm: bool, empty_bucket: bool, **options: Any) -> None:
        _check_can_ask(confirm)
        config, name, console = _config(options), stack_name or flow.name, _console()

        async def destroyed() -> bool:
            from lokki.aws.account import opened
            from lokki.aws.deploy import bucket_of, destroy, doomed

            bucket = bucket_of(config)
            async with opened(config) as account:
                who = await account.identity()
                _show_account(console, who, config, bucket)
                what = await doomed(account, who, name, flow.name, bucket)
                if not what.resources and not (empty_bucket and what.objects):
                    console.print(f"there is no stack '{name}'", markup=False)
                    return True
                _show_doomed(console, what, name, bucket, empty=empty_bucket)
                if not confirm and not click.confirm("Delete all this?", err=True):
                    return False
                await destroy(
                    account,
                    who,
                    what,
                    name=name,
                    flow=flow.name,
                    bucket=bucket,
                    data=empty_bucket,
                    tell=partial(console.print, markup=False),
                )
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
    return Command("destroy", params=[*_WHERE, _CONFIRM, empty], callback=destroy, help=DESTROY)


def _config(options: dict[str, Any]) -> Config:
    given = {_SETTINGS[name]: value for name, value in options.items()}
    return load(given)


def _run(work: Callable[[], Any]) -> Any:
    import anyio

    if find_spec("aiobotocore") is None:
        raise AwsError("this needs: pip install 'lokki[aws]'")
    return anyio.run(work)


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def _show_account(console: Console, who: Identity, config: Config, bucket: str) -> None:
    at = f" at {config.aws.endpoint}" if config.aws.endpoint else ""
    console.print(
        f"account {who.account}{at}, {who.region}, as {who.arn}, bucket {bucket}", markup=False
    )


def _agree(console: Console, confirmed: bool, change_set: ChangeSet) -> bool:
    """Show what would be changed, and ask whether it is to be."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("change", "resource", "type"):
        table.add_column(name, overflow="fold")
    for each in change_set.changes:
        action = f"{each.action} (made anew)" if each.replaced else each.action
        table.add_row(action, each.resource, each.kind)
    console.print(f"stack {change_set.stack}:", markup=False)
    console.print(table)
    return confirmed or click.confirm("Make these changes?", err=True)


def _show_doomed(console: Console, what: Doomed, name: str, bucket: str, *, empty: bool) -> None:
    for kind, resource in what.resources:
        console.print(f"stack {name}: {kind} {resource}", markup=False)
    fate = "deleted" if empty else "kept (--empty-bucket deletes them)"
    console.print(f"bucket {bucket}: {what.objects:,} objects of the flow, {fate}", markup=False)


def _check_can_ask(confirmed: bool) -> None:
    if not confirmed and (sys.stdin is None or not sys.stdin.isatty()):
        raise click.UsageError("there is no terminal to ask at: say --confirm")
