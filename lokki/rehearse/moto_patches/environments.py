"""The process that a package's environments are forked from; `prepared.py` starts it.

It runs in the Python and with the packages of Lambda: of lokki it has what is in its folder. Its
arguments are the file of `lokki.engine.forkserver` and a socket. What is missing or fails here, is
missing or fails in a fork as well, which reports it. The runtime interface client is left to the
forks: it reads the address of its API when it is imported.

With the descriptor of a file alone, it is one environment, which that file describes.
"""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import sys
import time
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import NoReturn

_CLIENT = [sys.executable, "-m", "awslambdaric"]
_execvp = os.execvp


def _run(wanted: int) -> None:
    """Run the wanted module as a new interpreter would, in its sandbox and with its variables."""
    with open(wanted) as file:
        argv, environment, folder, sandbox = json.load(file)
    os.chdir(folder)
    sys.path[0] = folder
    if sandbox is not None:
        _SANDBOX["enter"](**sandbox, kept=_SANDBOX["kept"](sandbox["folder"]))
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.execvp = _replaced  # type: ignore[assignment]
    _module(argv)


async def _use(service: str) -> None:
    """Import and read what is left until the first call, most of what that takes."""
    import anyio
    from aiobotocore.session import get_session

    async with anyio.create_task_group(), get_session().create_client(service):
        pass


def _module(argv: list[str]) -> None:
    sys.argv = argv
    runpy.run_module(argv[0], run_name="__main__", alter_sys=True)


def _replaced(file: str, argv: list[str]) -> NoReturn:
    """An image's entrypoint becomes the runtime interface client, here without a new start."""
    os.execvp = _execvp
    if argv[:3] != _CLIENT:
        _execvp(file, argv)
    _module(argv[2:])
    sys.exit()


if __name__ == "__main__":
    sys.path[0] = os.getcwd()
    _SANDBOX = runpy.run_path(os.path.join(os.path.dirname(__file__), "sandbox.py"))
    _SANDBOX["without_semaphores"]()
    if len(sys.argv) == 3:
        _run(int(sys.argv[2]))
        sys.exit()
    with suppress(Exception):
        import botocore.session

        import_module("lokki.runtime.handler")
        botocore.session.create_loader = cache(botocore.session.create_loader)
        asyncio.run(_use("s3"))
        if os.environ["_HANDLER"] == "orchestrator.handler":
            import_module("lokki.runtime.orchestrator")
            asyncio.run(_use("lambda"))
    runpy.run_path(sys.argv[2])["main"](_run)
