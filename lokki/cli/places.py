"""Opening the place that ``--on`` names."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import TYPE_CHECKING

from lokki.config import Config, load
from lokki.errors import AwsError
from lokki.places import AWS, LOCAL

if TYPE_CHECKING:
    from lokki.aws.place import AwsPlace
    from lokki.places.place import Place


def opened(on: str) -> AbstractContextManager[Place]:
    """The place at ``on``: `LOCAL`, `AWS`, or the URL of a server."""
    if on == LOCAL:
        from lokki.places.local import opened as here

        return here()
    if on == AWS:
        return opened_aws(load())
    from lokki.places.server import ServerPlace

    return nullcontext(ServerPlace(on))


def opened_aws(config: Config) -> AbstractContextManager[AwsPlace]:
    """The configured AWS account. Raises AwsError when what it takes is not installed."""
    check_aws()
    from lokki.aws.place import opened as there

    return there(config)


def check_aws() -> None:
    """Raise AwsError when what AWS takes is not installed."""
    if find_spec("aiobotocore") is None:
        raise AwsError("this needs: pip install 'lokki[aws]'")
