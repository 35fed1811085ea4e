"""The entry point of an image: in Lambda it runs the handler, anywhere else the command."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence


def command(given: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The command for ``given``, which in Lambda is the name of a handler."""
    if "AWS_LAMBDA_RUNTIME_API" in environment:
        return [sys.executable, "-m", "awslambdaric", *given]
    return list(given)


if __name__ == "__main__":
    argv = command(sys.argv[1:], os.environ)
    os.execvp(argv[0], argv)  # noqa: S606 - it is what the image is for
