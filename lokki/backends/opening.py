"""Opens a backend by its name."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from lokki.aws import check_installed
from lokki.config import Config, load
from lokki.model.run import AWS, LOCAL

if TYPE_CHECKING:
    from lokki.backends.backend import Backend
    from lokki.backends.blocking import BlockingAwsBackend


def opened(
    on: str, config: Callable[[], Config] = load, tell: Callable[[str], None] | None = None
) -> AbstractContextManager[Backend]:
    """The backend at ``on``: `LOCAL`, `AWS`, or the URL of a server.

    With ``tell``, a server that has answered may be away for a while; that is reported.
    """
    if on == LOCAL:
        from lokki.backends.local import opened as here

        return here()
    if on == AWS:
        return opened_aws(config())
    from lokki.backends.server import ServerBackend

    return nullcontext(ServerBackend(on, tell))


def opened_aws(config: Config) -> AbstractContextManager[BlockingAwsBackend]:
    """The configured AWS account. Raises AwsError when a package for it is missing."""
    check_installed()
    from lokki.backends.blocking import opened as there

    return there(config)
