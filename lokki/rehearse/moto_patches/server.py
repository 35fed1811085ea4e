"""The AWS of this process: moto's server on a free port, with all patches."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from moto.core.config import default_user_config
from moto.server import ThreadedMotoServer

from lokki.rehearse.moto_patches import (
    aliases,
    clients,
    durable,
    executions,
    grammar,
    jobs,
    lambdas,
    machines,
    maps,
    paths,
    quotas,
    redrives,
    results,
    sandbox,
    schedules,
    stacks,
    stops,
    topics,
    versions,
)
from lokki.rehearse.moto_patches.modules import moto
from lokki.rehearse.moto_patches.platform import Platform

REGION = "us-east-1"
_HOST = "127.0.0.1"


PLATFORM = Platform()


@cache
def _changed() -> None:
    """Apply the patches, once per process, and keep moto from logging intended failures."""
    for name, level in {"werkzeug": logging.ERROR, "moto": logging.CRITICAL}.items():
        logging.getLogger(name).setLevel(level)
    default_user_config["stepfunctions"] = {"execute_state_machine": True}
    for each in (
        machines, grammar, paths, maps, results, executions, redrives, stops, clients, schedules,
        topics, stacks, lambdas, versions, aliases, jobs, quotas, durable,
    ):  # fmt: skip
        each.change(PLATFORM)
    backends = moto("backends")
    services = frozenset(backends.list_of_moto_modules())
    backends.list_of_moto_modules = lambda: services  # for each request, it looked at its folders


@contextmanager
def serving(
    python: str = sys.executable,
    *,
    host: str = _HOST,
    port: int = 0,
    concurrency: int | None = None,
    shared: tuple[str, ...] = (),
) -> Iterator[Platform]:
    """An AWS at ``endpoint`` as long as this context; ``port`` 0: a free one.

    ``concurrency``: functions at a time in its account (default: any number). ``shared``: folders
    of this machine that its functions can write to (default: none).

    Only one at a time per process, since its parts look each other up by port. Raises OSError for a
    port in use.
    """
    _changed()
    port = _free_port(host, port)
    server = ThreadedMotoServer(host, port, verbose=False)
    before = os.environ.get("MOTO_PORT")
    os.environ["MOTO_PORT"] = str(port)  # its state machines call its other services there
    PLATFORM.endpoint, PLATFORM.python = f"http://{_HOST}:{port}", python
    PLATFORM.concurrency = concurrency
    PLATFORM.shared, PLATFORM.confined = shared, sandbox.is_permitted()
    server.start()
    try:
        yield PLATFORM
    finally:
        durable.close(PLATFORM)
        lambdas.close()
        server.stop()
        PLATFORM.images.clear()
        if before is None:
            del os.environ["MOTO_PORT"]
        else:
            os.environ["MOTO_PORT"] = before


def _free_port(host: str, wanted: int) -> int:
    """The given port, or any free one; moto's server would wait forever for a port in use."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, wanted))
        port: int = listening.getsockname()[1]
        return port
