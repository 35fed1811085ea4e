"""What commands share that change an AWS account."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import click

from lokki.aws import check_installed
from lokki.cli.render.words import as_options
from lokki.cli.streams import can_ask
from lokki.wording import said

if TYPE_CHECKING:
    from rich.console import Console

    from lokki.aws.account import Account, Identity
    from lokki.config import Config

STACK = click.Option(
    ["--stack-name"], metavar="NAME", help="Name of the stack.  [default: the flow's]"
)
CONFIRM = click.Option(["--confirm"], is_flag=True, help="Do not ask.")


@asynccontextmanager
async def open_account(config: Config, console: Console) -> AsyncIterator[tuple[Account, Identity]]:
    """The configured account, printed before anything is done to it."""
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


def run_on_aws(work: Callable[[], Any]) -> Any:
    import anyio

    check_installed()
    return anyio.run(work)


def stderr_console() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def printed_on(console: Console) -> Callable[[str], None]:
    """Prints messages of a deploy or destroy."""
    return lambda text: console.print(said(text, as_options), markup=False)


def check_can_ask(confirmed: bool) -> None:
    """Raise an error if packages for AWS are missing, or if there is nobody to ask."""
    check_installed()
    if not confirmed and not can_ask():
        raise click.UsageError("there is no terminal to ask at: give --confirm")
