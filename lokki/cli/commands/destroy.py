"""``destroy``: deletes the stack of a flow."""

from __future__ import annotations

from typing import Any

import click

from lokki.cli.account import (
    CONFIRM,
    STACK,
    check_can_ask,
    open_account,
    printed_on,
    run_on_aws,
    stderr_console,
)
from lokki.cli.command import Command
from lokki.cli.options import config_from, settings
from lokki.cli.program import Program
from lokki.cli.streams import stdout_to_stderr
from lokki.cli.target import on_target
from lokki.decorators import Flow

_HELP = """Delete a flow's stack on AWS.

Lists what it will delete first. Keeps results and packages in the bucket, unless --empty-bucket is
given.
"""


def destroy_command(flow: Flow[..., Any], program: Program) -> click.Command:
    def destroy(stack_name: str | None, confirm: bool, empty_bucket: bool, **options: Any) -> None:
        check_can_ask(confirm)
        config, console = config_from(options), stderr_console()

        async def destroyed() -> bool:
            from lokki.aws import stack
            from lokki.aws.bucket import bucket_of
            from lokki.aws.deploy import Target, destroy, doomed
            from lokki.cli.render.stack import show_doomed

            async with open_account(config, console) as (account, who):
                name = stack_name or (await stack.of_flow(account, flow.name, config.aws)).stack
                target = Target(name, config.aws.deployed_name(flow.name), bucket_of(config))
                what = await doomed(account, who, target)
                if not what.resources and not (empty_bucket and what.objects):
                    console.print(f"there is no stack '{target.stack}'", markup=False)
                    return True
                show_doomed(what, target, console, empty=empty_bucket)
                if not confirm and not click.confirm("Delete all this?", err=True):
                    return False
                tell = printed_on(console)
                await destroy(account, who, what, target, data=empty_bucket, tell=tell)
                return True

        with stdout_to_stderr():
            done = run_on_aws(destroyed)
        if not done:
            raise click.ClickException("nothing is destroyed")
        click.echo(f"{config.aws.deployed_name(flow.name)} is not on AWS any more")

    empty = click.Option(
        ["--empty-bucket"],
        is_flag=True,
        help="Also delete the flow's results and packages, and the bucket if lokki made it and it "
        "is empty then.",
    )
    parameters = [STACK, *settings("aws"), CONFIRM, empty]
    return Command("destroy", params=parameters, callback=destroy, help=_HELP)


command = on_target("destroy", "birds.py", _HELP, destroy_command)
