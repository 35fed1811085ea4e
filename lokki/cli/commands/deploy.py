"""``deploy``: creates or updates the stack of a flow."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from lokki.cli.graphs import asked_graph
from lokki.cli.options import config_from, settings
from lokki.cli.parameters import options_of
from lokki.cli.program import Program
from lokki.cli.streams import stdout_to_stderr
from lokki.cli.target import on_target
from lokki.decorators import Flow

if TYPE_CHECKING:
    from rich.console import Console

    from lokki.aws.deploy import Deployed
    from lokki.aws.stack import ChangeSet
    from lokki.config import Config
    from lokki.graph import FlowGraph

_HELP = """Build a flow and create or update its stack on AWS.

Shows the changes before it makes them.
"""


def deploy_command(flow: Flow[..., Any], program: Program) -> click.Command:
    def deploy(
        params: Path | None,
        stack_name: str | None,
        confirm: bool,
        force: bool,
        policy: bool,
        **options: Any,
    ) -> None:
        if not policy:
            check_can_ask(confirm)
        config, console = config_from(options), stderr_console()
        graph = asked_graph(flow, params, options, here=False, whole=False)
        if policy:
            _print_policy(graph, config, stack_name or config.aws.deployed_name(flow.name))
            return

        async def deployed() -> Deployed | None:
            from lokki.aws.deploy import deploy

            async with open_account(config, console) as (account, who):
                return await deploy(
                    account,
                    who,
                    graph,
                    config,
                    name=stack_name or config.aws.deployed_name(flow.name),
                    force=force,
                    agree=partial(_agree, console, confirm),
                    tell=printed_on(console),
                )

        with stdout_to_stderr():
            done = run_on_aws(deployed)
        if done is None:
            raise click.ClickException("nothing is deployed")
        outcome = "is deployed" if done.changed else "is deployed already, and up to date"
        click.echo(f"{config.aws.deployed_name(flow.name)} {outcome}: {done.machine}")

    anew = click.Option(
        ["--force"], is_flag=True, help="Build and push again, even without changes."
    )
    policy = click.Option(
        ["--policy"],
        is_flag=True,
        help="Only print the IAM policy that deploying, running and destroying the flow needs.",
    )
    own = [STACK, *settings("aws", "lambda"), CONFIRM, anew, policy]
    return Command("deploy", params=options_of(flow, own, whole=False), callback=deploy, help=_HELP)


def _print_policy(graph: FlowGraph[Any], config: Config, stack: str) -> None:
    from lokki.aws.bucket import bucket_of
    from lokki.builder.access import deployer_policy

    bucket_of(config)
    click.echo(json.dumps(deployer_policy(graph, config, stack), indent=2))


def _agree(console: Console, confirmed: bool, change_set: ChangeSet) -> bool:
    """Show the changes, and ask whether to make them."""
    from lokki.cli.render.stack import show_changes

    show_changes(change_set, console)
    return confirmed or click.confirm("Make these changes?", err=True)


command = on_target("deploy", "birds.py", _HELP, deploy_command)
