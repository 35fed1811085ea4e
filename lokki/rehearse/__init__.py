"""Runs a flow's build on this machine, as AWS would: ``pip install 'lokki-engine[rehearse]'``."""

from importlib.util import find_spec

from lokki.errors import BuildError


def check_installed() -> None:
    """Raise BuildError if packages for rehearsals are missing."""
    if any(find_spec(name) is None for name in ("aiobotocore", "moto", "flask")):
        raise BuildError("a rehearsal needs missing packages: pip install 'lokki-engine[rehearse]'")
