"""Flows on AWS: deploy, run, follow, resume and destroy them (``lokki-engine[aws]``)."""

from importlib.util import find_spec

from lokki.errors import AwsError


def check_installed() -> None:
    """Raise AwsError if packages for AWS are missing."""
    if find_spec("aiobotocore") is None:
        raise AwsError("AWS needs missing packages: pip install 'lokki-engine[aws]'")
