"""Opens the backend that ``--on`` names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import click

from lokki.backends import opening
from lokki.cli.configuration import configured
from lokki.cli.render.words import as_options
from lokki.errors import AwsError

if TYPE_CHECKING:
    from lokki.backends.backend import Backend
    from lokki.backends.blocking import BlockingAwsBackend


def opened(on: str | None, *, waits: bool = False) -> AbstractContextManager[Backend]:
    """The backend at ``on``: `LOCAL`, `AWS`, or the URL of a server; None: wherever runs may be.

    For a caller that ``waits`` for a run, a server may be away for a while.
    """
    if on is None:
        return _everywhere()
    return opening.opened(on, configured, partial(click.echo, err=True) if waits else None)


@contextmanager
def _everywhere() -> Iterator[Backend]:
    """The runs of this machine and, where flows may be deployed, those on AWS."""
    from lokki.backends.combined import CombinedBackend
    from lokki.backends.local import opened as here

    config = configured()
    with here() as local, ExitStack() as stack:

        def open_aws() -> BlockingAwsBackend:
            return stack.enter_context(opening.opened_aws(config))

        if config.aws.artifact_bucket is None:
            yield local
        else:
            yield CombinedBackend(local, open_aws, _without_aws)


def _without_aws(error: AwsError) -> None:
    text = error.said(as_options)
    click.echo(f"without runs on AWS (--on local leaves them out): {text}", err=True)
