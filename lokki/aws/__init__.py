"""Flows on AWS: deploy, run, follow, resume and destroy them (``lokki-engine[aws]``)."""

from importlib.util import find_spec

from lokki.errors import AwsError


def check_installed() -> None:
    """Raise AwsError when what this takes is not installed."""
    if find_spec("aiobotocore") is None:
        raise AwsError("AWS needs what is not installed here: pip install 'lokki-engine[aws]'")
