"""A flow's build run on this machine, as AWS would: ``pip install 'lokki-engine[rehearse]'``."""

from importlib.util import find_spec

from lokki.errors import BuildError


def check_installed() -> None:
    """Raise BuildError when what a rehearsal takes is not installed."""
    if any(find_spec(name) is None for name in ("aiobotocore", "moto", "flask")):
        raise BuildError(
            "a rehearsal needs what is not installed here: pip install 'lokki-engine[rehearse]'"
        )
