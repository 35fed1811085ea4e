"""Flows on AWS: deployed, run, looked at, mended, destroyed (``pip install lokki[aws]``)."""

from importlib.util import find_spec

from lokki.errors import AwsError


def check_installed() -> None:
    """Raise AwsError when what this takes is not installed."""
    if find_spec("aiobotocore") is None:
        raise AwsError("this needs: pip install 'lokki[aws]'")
